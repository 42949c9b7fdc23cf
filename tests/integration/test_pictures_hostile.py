"""Strangers' bytes and addresses through the whole flow: each gets its verdict, family and neighbours are saved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest

from app.metrics.registry import REGISTRY
from tests.conftest import MakeStack
from tests.support.hostile_pictures import EARLY, MAKERS, Good, HostilePicture
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.raw_http import answer, serve
from tests.support.stack import Stack

Json = dict[str, Any]
SLOW_TO_MAKE = ("heaviest-", "hundred-", "large-", "progressive-", "jpeg-of-", "gif-of-", "endless-", "bomb-jpeg-scans")
"""These have their verdicts in the inspector's own tests."""


@pytest.fixture(scope="module")
def hostile() -> list[HostilePicture]:
    makers = [maker for maker in MAKERS if not maker[0].startswith(SLOW_TO_MAKE)]
    return [HostilePicture(name, make(), verdict) for name, verdict, make in makers]


async def image_problems(stack: Stack) -> dict[str, Json]:
    """The newest run's problems of pictures, by the path of their address."""
    found = await stack.problems("A23")
    return {"/" + row["url"].partition("://")[2].partition("/")[2]: row for row in found if row["stage"] == "image"}


async def shown_by(stack: Stack, sku: str) -> list[Json]:
    return await stack.rows(
        """SELECT a.url, a.state, encode(m.sha256, 'hex') AS sha256, m.width, m.height, m.content_type
        FROM variants v JOIN shown_pictures s ON s.variant_id = v.id AND s.generation = v.shown_generation
        JOIN addresses a ON a.id = s.address_id LEFT JOIN media m ON m.id = a.media_id
        WHERE v.sku = :sku ORDER BY s.position""",
        sku=sku,
    )


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
async def test_every_hostile_picture_gets_its_verdict_and_every_good_one_its_facts(
    make_stack: MakeStack, origin: PictureOrigin, hostile: Sequence[HostilePicture]
) -> None:
    """A10 with the turned ones: width and height as displayed, the bytes in the store are the origin's."""
    feed = bare_feed()
    sku = skus_of(feed)[0]
    show(feed, sku, [origin.put(f"/{picture.name}", picture.body) for picture in hostile])
    async with make_stack(feed, retry_backoff_s=0.01, job_max_attempts=2) as stack:
        await stack.sync()
        problems = await image_problems(stack)
        shown = await shown_by(stack, feed.document(sku)["ChildProducts"][0]["Sku"])
        facts = {origin_path(row["url"]): row for row in shown if row["state"] == "stored"}
        for picture in hostile:
            path = f"/{picture.name}"
            if isinstance(picture.verdict, Good):
                row = facts[path]
                verdict = picture.verdict
                assert (row["content_type"], row["width"], row["height"]) == (
                    verdict.content_type,
                    verdict.width,
                    verdict.height,
                ), path
                assert row["sha256"] == hashlib.sha256(picture.body).hexdigest()
                assert await stack.services.store.get(key_of(row)) == picture.body
            else:
                kind = "attempts-spent" if picture.verdict == EARLY else picture.verdict
                assert problems[path]["kind"] == kind, path
                assert origin.asked[path] == (2 if picture.verdict == EARLY else 1), path
        run = await stack.run("A23")
        assert run["images_total"] == len(hostile)
        assert (run["images_failed"], run["status"]) == (len(problems), "completed_with_errors")
        assert run["images_uploaded"] + run["images_deduplicated"] == len(facts)


def origin_path(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2]


def key_of(row: Json) -> str:
    extension = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}[row["content_type"]]
    return f"{row['sha256'][:2]}/{row['sha256'][2:4]}/{row['sha256']}.{extension}"


@pytest.mark.parametrize("name", ["html", "svg-with-entities", "bomb-png", "zip-behind-JPEG", "zero-bytes", "half-PNG"])
async def test_a_hostile_picture_leaves_the_variant_what_it_has(
    make_stack: MakeStack, origin: PictureOrigin, hostile: Sequence[HostilePicture], name: str
) -> None:
    feed = bare_feed()
    sku = skus_of(feed)[0]
    show(feed, sku, [origin.put("/good", jpeg(1))])
    async with make_stack(feed, retry_backoff_s=0.01) as stack:
        await stack.sync()
        variant = feed.document(sku)["ChildProducts"][0]["Sku"]
        before = await shown_by(stack, variant)
        bad = next(picture for picture in hostile if picture.name == name)
        show(feed, sku, [origin.put("/bad", bad.body)])
        changes = await stack.value("SELECT count(*) FROM changes WHERE 'images' = ANY(fields)")
        await stack.sync()
        assert await shown_by(stack, variant) == before
        assert await stack.value("SELECT count(*) FROM changes WHERE 'images' = ANY(fields)") == changes
        run = await stack.run("A23")
        assert (run["status"], run["families_failed"], run["images_failed"]) == ("completed_with_errors", 0, 1)


async def test_what_is_no_picture_is_asked_for_with_growing_pauses(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    """ENGINE.md 3: dead pictures do not cost a request every time."""
    feed = bare_feed()
    show(feed, skus_of(feed)[0], [origin.put("/page", b"<html>sign in</html>"), origin.url("/gone")])
    before = failed_again()
    async with make_stack(feed) as stack:
        for _ in range(5):
            await stack.sync()
        assert origin.asked == {"/page": 3, "/gone": 3}
        assert await stack.value("SELECT min(next_try_at) > now() + interval '8 min' FROM addresses") is True
    assert failed_again() - before == 2 * 2, "not among them are the two that failed for the first time"


def failed_again() -> float:
    return REGISTRY.get_sample_value("promidata_jobs_failed_again_total", {"queue": "image-upload"}) or 0.0


PRIVATE = [
    "http://10.0.0.1/x.jpg",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]/x.jpg",
    "http://[::ffff:10.0.0.1]/x.jpg",
    "http://[64:ff9b::a00:1]/x.jpg",
    "http://0x7f.0.0.2/x.jpg",
    "http://2130706434/x.jpg",
    "http://user:secret@127.0.0.1/x.jpg",
    "http://localhost.localdomain.:1/x.jpg",
]


async def test_addresses_in_a_private_network_are_refused_and_the_family_is_saved(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    """Server-side request forgery through a document: nothing is connected to, also not by a redirect."""
    feed = bare_feed()
    sku = skus_of(feed)[0]
    async with serve([answer(jpeg(9))], host="127.0.0.2") as hidden:
        redirected = origin.url("/redirect")
        origin.scripts["/redirect"] = [[answer(status=302, Location=hidden.url("/secret"))] for _ in range(3)]
        show(feed, sku, [origin.put("/good", jpeg(1)), hidden.url("/secret"), redirected, *PRIVATE])
        async with make_stack(feed, allow_private_addresses="127.0.0.1/32", retry_backoff_s=0.01) as stack:
            await stack.sync()
            assert (hidden.connections, hidden.requests) == (0, [])
            run = await stack.run("A23")
            assert (run["families_completed"], run["variants_created"], run["images_uploaded"]) == (1, 1, 1)
            assert run["images_failed"] == run["images_total"] - 1
            problems = [row for row in await stack.problems("A23") if row["stage"] == "image"]
            refused = {row["kind"] for row in problems if "localhost" not in row["url"]}
            assert refused <= {"address-refused", "address-host", "address-malformed"}
            assert len(problems) == run["images_failed"] == len(PRIVATE) + 2
            assert not any("secret@" in row["reason"] for row in problems)
            assert origin.asked == {"/good": 1, "/redirect": 1}
