"""A family that the manifest lacks goes with the last of its variants (ENGINE.md 4 and 5): none stays behind in it."""

from __future__ import annotations

import pytest

from app.samplefeed import SampleFeed
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import Json, active, numbered, plain_feed
from tests.integration.test_feed_corners import OWNER
from tests.integration.test_feed_unfinished import failing, skus_of
from tests.support.image_jobs import HeldRun
from tests.support.stack import Stack

LEFT_BEHIND = """SELECT v.sku FROM variants v JOIN products p ON p.id = v.product_id
    WHERE p.status = 'discontinued' AND v.status = 'active'"""
STATUS = "SELECT status FROM products WHERE sku = :sku"


@pytest.fixture
def feed() -> SampleFeed:
    return plain_feed(families=8, variants=1)


def move_all(feed: SampleFeed, *, keeps: bool) -> tuple[str, str, str]:
    """The first family leaves the manifest, the second lists its variant, beside its own or in place of it.

    Returns the two families and the variant.
    """
    left, taker = skus_of(feed)[:2]
    (moving,), own = feed.document(left)["ChildProducts"], feed.document(taker)["ChildProducts"]
    feed.hide_family(left)
    feed.edit(taker, lambda document: document.update(ChildProducts=[*(own if keeps else []), moving]))
    return left, taker, moving["Sku"]


def weigh_oddly(document: Json) -> None:
    document["ChildProducts"][0]["NonLanguageDependedProductDetails"]["Weight"] = "heavy"


async def told(stack: Stack, before: int) -> list[tuple[str, str, str]]:
    return [(row["kind"], row["entity"], row["sku"]) for row in (await numbered(stack))[before:]]


async def test_a_family_goes_in_the_commit_that_takes_its_last_variant(make_stack: MakeStack, feed: SampleFeed) -> None:
    async with make_stack(feed) as stack:
        await stack.sync()
        before = len(await numbered(stack))
        left, taker, moving = move_all(feed, keeps=True)
        run = HeldRun(stack)
        jobs = await run.begin()
        while jobs:
            assert await stack.rows(LEFT_BEHIND) == []
            await run.work(jobs)
            jobs = await run.claim("product-family")
        assert (await stack.value(STATUS, sku=left), await stack.value(OWNER, sku=moving)) == ("discontinued", taker)
        assert await told(stack, before) == [("updated", "variant", moving), ("discontinued", "product", left)]


async def test_a_family_waits_for_the_doubted_document_that_lists_its_variant(
    make_stack: MakeStack, feed: SampleFeed
) -> None:
    async with make_stack(feed) as stack:
        await stack.sync()
        before = len(await numbered(stack))
        left, taker, moving = move_all(feed, keeps=False)
        (own,) = await stack.rows("SELECT sku FROM variants WHERE sku LIKE :sku", sku=f"{taker}%")
        await stack.sync()
        assert [problem["kind"] for problem in await stack.problems("A23")] == ["suspect"]
        assert await told(stack, before) == []
        assert (await stack.value(STATUS, sku=left), await active(stack, left)) == ("active", 1)
        await stack.sync()
        assert (await stack.value(STATUS, sku=left), await stack.value(OWNER, sku=moving)) == ("discontinued", taker)
        assert [row for row in await told(stack, before) if row[2] != taker] == [
            ("updated", "variant", moving),
            ("discontinued", "product", left),
            ("discontinued", "variant", own["sku"]),
        ]


async def test_a_family_whose_variant_was_only_said_to_move_goes_with_it(
    make_stack: MakeStack, feed: SampleFeed
) -> None:
    async with make_stack(feed) as stack:
        await stack.sync()
        before = len(await numbered(stack))
        left, taker, moving = move_all(feed, keeps=False)
        await stack.sync()
        feed.revert(taker)
        await stack.sync()
        assert await told(stack, before) == [("discontinued", "product", left), ("discontinued", "variant", moving)]


async def test_a_family_waits_for_one_that_failed_to_take_its_variant(make_stack: MakeStack, feed: SampleFeed) -> None:
    async with make_stack(feed, job_max_attempts=1) as stack:
        await stack.sync()
        left, taker, moving = move_all(feed, keeps=True)
        run = HeldRun(stack)
        await failing(run, stack, await run.begin())
        assert (await stack.rows(LEFT_BEHIND), await stack.value(STATUS, sku=left)) == ([], "active")
        await stack.sync()
        assert (await stack.value(STATUS, sku=left), await stack.value(OWNER, sku=moving)) == ("discontinued", taker)


async def test_a_family_that_is_written_twice_in_a_run_is_warned_of_once(
    make_stack: MakeStack, feed: SampleFeed
) -> None:
    async with make_stack(feed) as stack:
        await stack.sync()
        _, taker, _ = move_all(feed, keeps=True)
        feed.edit(taker, weigh_oddly)
        await stack.sync()
        assert [problem["kind"] for problem in await stack.problems("A23")] == ["reading"]
