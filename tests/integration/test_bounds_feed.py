"""Too much, too slowly, too little (CASES.md A11) for manifest, document and picture, in whole syncs.

What ended early or came too slowly is asked for again in the same run; what is too much is refused; waits are capped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from app.samplefeed import FeedSpec, SampleFeed
from app.samplefeed.answers import answer as answer_of
from app.samplefeed.answers import kind_of
from app.samplefeed.faults import Action
from tests.conftest import MakeStack
from tests.support.raw_http import RawServer, Script, answer, serve
from tests.support.stack import Stack
from tests.support.truth import assert_catalogue_equals_feed, assert_store_equals_feed

Json = dict[str, Any]
LIMITS: Json = {
    "connect_timeout_s": 2.0,
    "first_byte_timeout_s": 2.0,
    "document_timeout_s": 3.0,
    "picture_timeout_s": 3.0,
    "manifest_max_bytes": 1_000_000,
    "document_max_bytes": 1_000_000,
    "picture_max_bytes": 1_000_000,
}
PATIENT: Json = {**LIMITS, **{name: 60.0 for name in LIMITS if name.endswith("_s")}}
"""For what is refused by its size: the server shares the processor with the client here."""
MOST_MEMORY_BYTES = 60 * 1024 * 1024
"""A bomb opens to 10 GB, and each limit is 1 MB."""


def small_feed() -> SampleFeed:
    return SampleFeed(FeedSpec.small(count=1, families=3, variants=2, oddities=False))


def first_document(feed: SampleFeed) -> str:
    return next(feed.entries("A23")).file_name


def first_picture(feed: SampleFeed) -> str:
    sku = first_document(feed).removesuffix(".json")
    url = feed.document(sku)["ChildProducts"][0]["ProductDetails"]["nl"]["Image"]["Url"]
    return "*" + str(url).removeprefix(feed.pictures_origin)


def strike(stack: Stack, action: Action, *, manifest: bool = True, times: int | None = 1, **details: Any) -> None:
    """The fault on the manifest, on one document and on one picture."""
    if manifest:
        stack.server.faults.add("manifest", action, times=times, **details)
    stack.server.faults.add(f"*/{first_document(stack.feed)}", action, times=times, **details)
    stack.server.faults.add(first_picture(stack.feed), action, times=times, **details)


async def assert_all_there(stack: Stack) -> None:
    run = await stack.run("A23")
    assert (run["status"], run["error"]) == ("completed", None)
    await assert_catalogue_equals_feed(stack)
    await assert_store_equals_feed(stack)


def memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize(
    ("action", "details"),
    [
        ("drip", {"seconds": 0.02}),
        ("endless_header", {"seconds": 0.02}),
        ("slow", {"seconds": 10.0}),
        ("cut", {}),
        ("cut_chunked", {}),
        ("reset", {}),
        ("status", {"status": 500}),
    ],
)
async def test_what_came_too_slowly_or_ended_early_is_there_in_the_same_run(
    make_stack: MakeStack, action: Action, details: Json
) -> None:
    async with make_stack(small_feed(), **LIMITS) as stack:
        strike(stack, action, **details)
        stack.server.log.reset()
        await stack.sync()
        await assert_all_there(stack)
        assert [fault.hits for fault in stack.server.faults.all()] == [1, 1, 1]
        assert stack.server.log.counts["manifest"] == 2
        assert stack.server.log.counts["document"] == 4


async def test_what_ends_early_without_a_length_is_there_in_the_same_run(make_stack: MakeStack) -> None:
    async with make_stack(small_feed(), **LIMITS) as stack:
        strike(stack, "cut_close")
        stack.server.log.reset()
        await stack.sync()
        await assert_all_there(stack)
        assert (await stack.run("A23"))["status"] == "completed"
        assert [fault.hits for fault in stack.server.faults.all()] == [1, 1, 1]
        assert stack.server.log.counts["manifest"] == 2


async def test_a_manifest_that_always_ends_early_without_a_length_removes_nothing(make_stack: MakeStack) -> None:
    async with make_stack(small_feed(), **LIMITS) as stack:
        await stack.sync()
        changes = await stack.value("SELECT count(*) FROM changes")
        stack.feed.rehash(first_document(stack.feed).removesuffix(".json"))
        stack.server.faults.add("manifest", "cut_close", times=2, share=0.55)
        await stack.sync()
        held = await stack.run("A23")
        assert (held["status"], held["variants_discontinued"]) == ("completed_with_errors", 0)
        await stack.sync()
        assert (await stack.run("A23"))["status"] == "completed"
        assert await stack.value("SELECT count(*) FROM changes") == changes


async def test_what_stays_too_slow_is_a_problem_and_the_rest_is_saved(make_stack: MakeStack) -> None:
    async with make_stack(small_feed(), **LIMITS) as stack:
        strike(stack, "drip", manifest=False, times=None, seconds=0.02)
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["documents_failed"]) == ("completed_with_errors", 1)
        assert run["families_completed"] == 2
        (problem,) = [row for row in await stack.problems("A23") if row["stage"] == "supplier"]
        assert "took over" in problem["reason"]
        stack.server.faults.clear()
        await stack.sync()
        await assert_all_there(stack)


async def test_a_bomb_costs_neither_memory_nor_its_neighbours_anything(make_stack: MakeStack) -> None:
    async with make_stack(small_feed(), **PATIENT) as stack:
        strike(stack, "gzip_bomb", manifest=False, times=None)
        before = memory_bytes()
        await stack.sync()
        assert memory_bytes() - before < MOST_MEMORY_BYTES
        run = await stack.run("A23")
        assert (run["status"], run["documents_failed"], run["families_completed"]) == ("completed_with_errors", 1, 2)
        kinds = {(row["stage"], row["kind"]) for row in await stack.problems("A23")}
        assert ("supplier", "too-large") in kinds
        stack.server.faults.clear()
        stack.server.faults.add(first_picture(stack.feed), "gzip_bomb")
        await stack.sync()
        assert {(row["stage"], row["kind"]) for row in await stack.problems("A23")} == {("image", "too-large")}


async def test_a_bomb_in_place_of_the_manifest_fails_the_run_and_removes_nothing(make_stack: MakeStack) -> None:
    async with make_stack(small_feed(), **PATIENT) as stack:
        await stack.sync()
        stack.feed.rehash(first_document(stack.feed).removesuffix(".json"))
        stack.server.faults.add("manifest", "gzip_bomb")
        before = memory_bytes()
        await stack.sync()
        assert memory_bytes() - before < MOST_MEMORY_BYTES
        run = await stack.run("A23")
        assert (run["status"], "over" in run["error"]) == ("failed", True)
        assert await stack.value("SELECT count(*) FROM products WHERE status = 'active'") == 3


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def many_families() -> tuple[SampleFeed, list[str], list[str]]:
    """A feed, its documents' paths as patterns, and one picture's of each."""
    feed = SampleFeed(FeedSpec.small(count=1, families=6, variants=2, oddities=False))
    names = [entry.file_name for entry in feed.entries("A23")]
    pictures = [
        str(feed.document(name.removesuffix(".json"))["ChildProducts"][0]["ProductDetails"]["nl"]["Image"]["Url"])
        for name in names
    ]
    return feed, [f"*/{name}" for name in names], ["*" + url.removeprefix(feed.pictures_origin) for url in pictures]


async def test_a_wish_to_wait_for_ever_is_an_error_that_states_it(make_stack: MakeStack) -> None:
    feed, documents, pictures = many_families()
    wishes = ["86400", "1" * 30, http_date(366 * 86_400)]
    async with make_stack(feed, **LIMITS) as stack:
        for at, wish in enumerate(wishes):
            stack.server.faults.add(documents[at], "status", times=1, status=503, retry_after=wish)
            stack.server.faults.add(pictures[at + 3], "status", times=1, status=503, retry_after=wish)
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["documents_failed"], run["images_failed"]) == ("completed_with_errors", 3, 3)
        assert (run["families_completed"], run["families_failed"]) == (3, 0)
        assert [fault.hits for fault in stack.server.faults.all()] == [1] * 6
        reasons = [row["reason"] for row in await stack.problems("A23")]
        assert all("503 and asks for a wait of " in reason for reason in reasons), reasons
        assert sum("asks for a wait of 86400 s" in reason for reason in reasons) == 2
        await stack.sync()
        await assert_all_there(stack)


async def test_a_manifest_that_is_to_be_waited_for_for_ever_fails_the_run(make_stack: MakeStack) -> None:
    async with make_stack(small_feed(), **LIMITS) as stack:
        stack.server.faults.add("manifest", "status", times=1, status=503, retry_after="86400")
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], "503 and asks for a wait of 86400 s" in run["error"]) == ("failed", True)
        await stack.sync()
        await assert_all_there(stack)


async def test_a_wish_that_makes_sense_or_none_is_followed_within_the_run(make_stack: MakeStack) -> None:
    feed, documents, pictures = many_families()
    async with make_stack(feed, **LIMITS) as stack:
        for at, wish in enumerate(["0", "-1", http_date(-3_600), "soon", "", "1"]):
            stack.server.faults.add(documents[at], "status", times=1, status=503, retry_after=wish)
            stack.server.faults.add(pictures[at], "status", times=1, status=503, retry_after=wish)
        stack.server.faults.add("manifest", "status", times=1, status=503, retry_after="soon")
        began = time.monotonic()
        await stack.sync()
        await assert_all_there(stack)
        assert time.monotonic() - began >= 1.9  # one document and one picture asked for a second
        assert [fault.hits for fault in stack.server.faults.all()] == [1] * 13


@pytest.mark.parametrize("for_s", [4, pytest.param(20, marks=pytest.mark.chaos)])
async def test_429_on_everything_for_a_while_is_borne_with_few_requests(make_stack: MakeStack, for_s: int) -> None:
    feed = SampleFeed(FeedSpec.small(count=1, families=12, variants=2, oddities=False))
    async with make_stack(feed, **{**LIMITS, "retry_backoff_s": 0.5}) as stack:
        stack.server.faults.add("manifest", "status", times=1, status=429, retry_after="1")
        stack.server.faults.add("*", "status", for_s=for_s, status=429)
        await stack.sync()
        during = [request for request in stack.server.log.requests if request.status == 429]
        assert 0 < len(during) <= 3 * (1 + 12)
        await asyncio.sleep(max(0.0, for_s + 0.1 - (time.time() - stack.server.log.requests[0].at)))
        await stack.sync()
        await assert_all_there(stack)


@asynccontextmanager
async def crooked_server(feed: SampleFeed) -> AsyncIterator[tuple[RawServer, dict[str, int]]]:
    """The feed, each path's first answer with more bytes than it announced; how often each was asked."""
    asked: dict[str, int] = {}

    def script(head: str) -> Script:
        path = head.split(" ", 2)[1]
        asked[path] = asked.get(path, 0) + 1
        found = answer_of(feed, kind_of(feed, path), path)
        body = found.plain()
        if found.status != 200:
            return [answer(body, status=found.status)]
        length = len(body) // 2 if asked[path] == 1 else len(body)
        return [answer(body, length=length, Content_Type=found.content_type)]

    async with serve(script) as server:
        yield server, asked


async def test_what_is_longer_than_announced_is_there_in_the_same_run(make_stack: MakeStack) -> None:
    feed = small_feed()
    async with crooked_server(feed) as (server, asked):
        async with make_stack(feed, **LIMITS, document_hosts=f"127.0.0.1:{server.port}") as stack:
            feed.serve_at(f"http://127.0.0.1:{server.port}", f"http://127.0.0.1:{server.port}")
            asked.clear()
            stack.server.faults.add("manifest", "redirect", location=server.url(f"{feed.base_path}/Import/Import.txt"))
            await stack.sync()
            await assert_all_there(stack)
        whole = [path for path, number in asked.items() if path.endswith((".json", ".jpg", ".png", "Import.txt"))]
        assert len(whole) > 6
        assert {asked[path] for path in whole} == {2}
