"""CASES.md D2: the category file is not believed on trust, whatever stands in its place (ENGINE.md 4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.catalogue.guard import check_categories
from app.persistence import categories
from app.persistence.manifests import profile_key
from app.samplefeed import FeedSpec, SampleFeed
from app.sync.supplier import categories_step, manifest_step
from tests.conftest import MakeStack
from tests.support.image_jobs import HeldRun
from tests.support.stack import Servers, Stack, open_stack

HEADER = "KEY;de;nl"
LINES = [f"BAGS/{number};Tasche {number};Tas {number}" for number in range(40)]


def csv(*lines: str) -> bytes:
    return "".join(line + "\r\n" for line in (HEADER, *lines)).encode()


WHOLE = csv(*LINES)
RENAMED = csv(*(line.replace("Tas ", "Tasje ") for line in LINES))
REFUSED = {
    "a page": b"<!DOCTYPE html><html><body>We are back soon</body></html>",
    "empty": b"",
    "blank": b"\r\n\r\n",
    "the header alone": csv(),
    "three lines": csv(*LINES[:3]),
    "cut in its middle": WHOLE[: len(WHOLE) // 2],
    "nine lost": csv(*LINES[9:]),
    "other keys": WHOLE.replace(b"BAGS/", b"TASSEN/"),
    "commas": WHOLE.replace(b";", b","),
    "UTF-16": WHOLE.decode().encode("utf-16"),
    "UTF-16 without a mark": WHOLE.decode().encode("utf-16-le"),
    "an error": b'{"error": "The request could not be served"}',
    "a document": b'{"Sku": "A23-1", "ChildProducts": []}',
    "a quote that never ends": WHOLE.replace(b";Tasche 3;", b';"Tasche 3;'),
}


def small_feed() -> SampleFeed:
    return SampleFeed(FeedSpec.small(count=1, families=2, variants=1, oddities=False))


@pytest.fixture(scope="module")
async def shared(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack"), small_feed()) as opened:
        await opened.sync()
        yield opened


@pytest.fixture
async def stack(shared: Stack) -> Stack:
    """The module's, before its first look at a category file: nothing is known of one, the feed has the whole one."""
    async with shared.services.database.begin() as db:
        await db.exec_driver_sql("TRUNCATE categories, category_files")
    shared.feed.set_categories(WHOLE)
    shared.server.faults.clear()
    asked(shared)
    return shared


async def dutch(stack: Stack) -> list[str]:
    rows = await stack.rows("SELECT name ->> 'nl' AS name FROM categories ORDER BY key")
    return [row["name"] for row in rows]


async def warnings(stack: Stack) -> list[str]:
    run = await stack.run("A23")
    assert run["status"] == "completed"
    return [row["reason"] for row in await stack.problems("A23") if row["kind"] == "categories"]


def asked(stack: Stack) -> int:
    count = int(stack.server.log.counts.get("category", 0))
    stack.server.log.reset()
    return count


async def a_day_later(stack: Stack) -> None:
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql("UPDATE category_files SET checked_at = checked_at - interval '1 day 1 minute'")


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
async def test_what_is_none_or_lost_too_much_changes_nothing_until_it_is_right_again(stack: Stack, body: bytes) -> None:
    await stack.sync()
    before = await dutch(stack)
    assert (len(before), await warnings(stack)) == (40, [])
    await a_day_later(stack)
    stack.feed.set_categories(body)
    for _ in range(2):  # the second time its validators, had they been kept, would hide it
        asked(stack)
        await stack.sync()
        assert asked(stack) == 1
        assert len(await warnings(stack)) == 1
        assert await dutch(stack) == before
    stack.feed.set_categories(RENAMED)
    await stack.sync()
    assert await warnings(stack) == []
    assert set(await dutch(stack)) == {name.replace("Tas ", "Tasje ") for name in before}


@pytest.mark.parametrize("lines", [LINES[8:], LINES[1:], [*LINES, "NEW;Neu;Nieuw"], [*LINES[5:], "NEW;Neu;Nieuw"]])
async def test_what_lost_no_more_than_the_share_is_taken_over_as_it_is(stack: Stack, lines: list[str]) -> None:
    await stack.sync()
    await a_day_later(stack)
    stack.feed.set_categories(csv(*lines))
    await stack.sync()
    assert await warnings(stack) == []
    assert len(await dutch(stack)) == len(lines)


@pytest.mark.parametrize("fault", [{"action": "status", "status": 500}, {"action": "cut_close", "share": 0.97},
                                   {"action": "status", "status": 401}, {"action": "cut_chunked", "share": 0.5},
                                   {"action": "html"}])  # fmt: skip
async def test_a_failed_look_is_not_the_days_look(stack: Stack, fault: dict[str, Any]) -> None:
    stack.server.faults.add("category", **fault)
    await stack.sync()
    assert len(await warnings(stack)) == 1
    assert await dutch(stack) == []
    stack.server.faults.clear()
    await stack.sync()
    assert await warnings(stack) == []
    assert len(await dutch(stack)) == 40


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_profile_without_one_is_normal_and_asked_once_a_day(stack: Stack, status: int) -> None:
    stack.server.faults.add("category", "status", status=status)
    await stack.sync()
    assert (asked(stack), await warnings(stack)) == (2, [])
    await stack.sync()
    assert asked(stack) == 0


async def test_an_unchanged_one_is_asked_once_a_day(stack: Stack) -> None:
    await stack.sync()
    await a_day_later(stack)
    asked(stack)
    for times in (1, 0):
        await stack.sync()
        assert asked(stack) == times
    assert len(await dutch(stack)) == 40


async def test_a_look_whose_process_died_comes_back_by_itself(stack: Stack) -> None:
    profile = profile_key(stack.settings.base_url)
    async with stack.services.database.begin() as db:
        assert await categories.claim_look(db, profile, "http://x") == (None, None)
    await stack.sync()
    assert asked(stack) == 0
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql("UPDATE category_files SET checked_at = checked_at - interval '11 minutes'")
    await stack.sync()
    assert asked(stack) == 1
    assert len(await dutch(stack)) == 40


@pytest.mark.parametrize(
    ("lost", "known", "share", "believed"),
    [
        (0, 0, 0.2, True),
        (0, 40, 0.0, True),
        (5, 6, 0.2, True),
        (5, 5, 0.2, False),
        (6, 30, 0.2, True),
        (6, 29, 0.2, False),
        (8, 40, 0.2, True),
        (9, 40, 0.2, False),
        (39, 40, 1.0, True),
        (40, 40, 0.99, False),
        (40, 40, 1.0, True),
    ],
)
def test_at_most_five_categories_or_the_share_go_at_once_and_all_only_where_all_may(
    lost: int, known: int, share: float, believed: bool
) -> None:
    assert (check_categories(lost=lost, known=known, share=share) is None) == believed


@pytest.mark.parametrize("step", [manifest_step, categories_step])
async def test_a_job_whose_claim_was_taken_while_it_asked_the_origin_writes_nothing(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    asks = step._ask
    async with make_stack(small_feed()) as stack:

        async def ask(*args: Any) -> Any:
            async with stack.services.database.begin() as db:
                await db.exec_driver_sql("UPDATE jobs SET claim = gen_random_uuid()")
            return await asks(*args)

        monkeypatch.setattr(step, "_ask", ask)
        run = HeldRun(stack)
        assert await run.begin() == []
        assert await stack.value("SELECT count(*) FROM manifests") == 0
        assert await stack.value("SELECT count(*) FROM categories") == 0
