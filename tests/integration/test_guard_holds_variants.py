"""While the guard holds removals back no variant goes either: what a manifest hides may list it (decision 0035)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.persistence import retention
from app.persistence.statements import ask
from app.samplefeed import SampleFeed
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import active, numbered, plain_feed
from tests.integration.test_feed_corners import OWNER, confirm
from tests.integration.test_feed_unfinished import skus_of
from tests.support.stack import Stack

PRIMARY = """SELECT v.sku FROM variants v JOIN products p ON p.id = v.product_id
    WHERE p.sku = :sku AND v.is_primary AND v.status = 'active'"""

MOVED_WITH = """SELECT p.updated_at >= v.updated_at FROM products p JOIN variants v ON v.product_id = p.id
    WHERE v.sku = :sku"""

SHOWN_SINCE = """SELECT p.updated_at, w.version FROM products p JOIN product_versions w ON w.product_id = p.id
    WHERE p.sku = :sku"""


def cut(feed: SampleFeed) -> None:
    """The manifest ends in the middle of its last line, which is the last family's."""
    feed.set_manifest(feed.manifest().rstrip()[:-45])


def shrink(feed: SampleFeed) -> None:
    for sku in skus_of(feed)[-6:]:
        feed.hide_family(sku)


def drop_one_and_shrink(feed: SampleFeed) -> str:
    """A variant goes from its document, and most families from the manifest; returns the variant's family."""
    family = skus_of(feed)[0]
    feed.remove_variant(family, feed.document(family)["ChildProducts"][2]["Sku"])
    shrink(feed)
    return family


def turn_odd(feed: SampleFeed) -> None:
    lines = feed.manifest().decode().splitlines()
    feed.set_manifest("\n".join([*lines[:-1], lines[-1].replace("http:", "htps:")]).encode())


def make_whole(feed: SampleFeed) -> None:
    feed.set_manifest(None)
    for sku in skus_of(plain_feed(families=8)):
        feed.restore_family(sku)


async def told_of(stack: Stack, variant: str, before: int) -> list[tuple[str, list[str]]]:
    return [(row["kind"], row["fields"]) for row in (await numbered(stack))[before:] if row["sku"] == variant]


async def assert_held(stack: Stack, families: int) -> None:
    run = await stack.run("A23")
    assert (run["guard"] is not None, run["variants_discontinued"]) == (True, 0)
    assert await stack.value("SELECT count(*) FROM variants WHERE status = 'active'") == 3 * families


@pytest.mark.parametrize("damage", [cut, shrink, turn_odd])
async def test_a_variant_that_its_document_dropped_goes_once_a_manifest_is_believed(
    make_stack: MakeStack, damage: Callable[[SampleFeed], None]
) -> None:
    feed = plain_feed(families=8)
    async with make_stack(feed) as stack:
        family = skus_of(feed)[0]
        await stack.sync()
        before, gone = len(await numbered(stack)), str(await stack.value(PRIMARY, sku=family))
        feed.remove_variant(family, gone)
        damage(feed)
        await stack.sync()
        await assert_held(stack, 8)
        assert await told_of(stack, gone, before) == [("updated", ["isPrimary"])], "all else is applied"
        assert await stack.value(MOVED_WITH, sku=gone), "who polls by updatedSince sees it step back"
        assert len(await stack.rows(PRIMARY, sku=family)) == 1
        for options in ({"reparse": True}, {"skus": (family,)}):
            await stack.sync("A23", **options)
            assert await active(stack, family) == 3, "neither looks at what the manifest names"
        make_whole(feed)
        await stack.sync()
        assert await active(stack, family) == 2
        assert (await stack.run("A23"))["variants_discontinued"] == 1
        assert await told_of(stack, gone, before) == [("updated", ["isPrimary"]), ("discontinued", [])]


async def test_a_product_moves_with_a_variant_that_goes_and_not_with_one_that_is_held_back(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=8)
    async with make_stack(feed) as stack:
        await stack.sync()
        before, family = len(await numbered(stack)), drop_one_and_shrink(feed)
        was = await stack.rows(SHOWN_SINCE, sku=family)
        for options in ({}, {"force": True}, {"skus": (family,)}, {"reparse": True}):
            await stack.sync("A23", **options)
            assert await stack.rows(SHOWN_SINCE, sku=family) == was, options
        assert (await numbered(stack))[before:] == []
        make_whole(feed)
        await stack.sync()
        (went,) = await stack.rows("SELECT sku FROM variants WHERE status = 'discontinued'")
        assert await stack.rows(SHOWN_SINCE, sku=family) != was
        assert await stack.value(MOVED_WITH, sku=went["sku"])


async def test_what_is_held_back_outlives_the_age_of_its_run(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    async with make_stack(feed) as stack:
        await stack.sync()
        family = drop_one_and_shrink(feed)
        await stack.sync()
        await assert_held(stack, 8)
        await stack.sync("A23", reparse=True)
        await forget_old_runs(stack)
        await stack.sync("A23", reparse=True)
        assert await active(stack, family) == 3
        make_whole(feed)
        await stack.sync()
        assert await active(stack, family) == 2
        await forget_old_runs(stack)
        assert await stack.value("SELECT count(*) FROM runs") == 1, "nothing is held back any more"


async def forget_old_runs(stack: Stack) -> None:
    async with stack.services.database.begin() as db:
        await ask(db, "UPDATE runs SET finished_at = finished_at - interval '3 days'")
        while await retention.delete_runs(db, 86_400):
            pass


async def test_a_variant_that_moved_to_what_the_manifest_hides_is_not_gone_for_a_day(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    async with make_stack(feed) as stack:
        left, *_, taker = skus_of(feed)
        await stack.sync()
        before, moving = len(await numbered(stack)), feed.document(left)["ChildProducts"][2]
        feed.remove_variant(left, moving["Sku"])
        feed.edit(taker, lambda document: document["ChildProducts"].append(moving))
        cut(feed)
        await stack.sync()
        await assert_held(stack, 8)
        make_whole(feed)
        await stack.sync()
        assert await stack.value(OWNER, sku=moving["Sku"]) == taker
        assert await told_of(stack, moving["Sku"], before) == [("updated", ["productSku"])]


async def test_an_operator_who_confirms_the_manifest_lets_variants_go_too(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    async with make_stack(feed) as stack:
        await stack.sync()
        family = drop_one_and_shrink(feed)
        for _ in range(2):
            await stack.sync()
            await assert_held(stack, 8)
        await confirm(stack, str((await stack.run("A23"))["manifest_sha256"]))
        assert await active(stack, family) == 2
        assert await stack.value("SELECT count(*) FROM products WHERE status = 'active'") == 2
