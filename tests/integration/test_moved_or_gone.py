"""What left one document may be in another one: only a run that saw them all lets it go (ENGINE.md 4)."""

from __future__ import annotations

import pytest

from app.samplefeed import SampleFeed
from app.sync.supplier import stage as supplier_stage
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import active, numbered, plain_feed
from tests.integration.test_feed_corners import OWNER
from tests.integration.test_feed_unfinished import cancelled_before_its_families, skus_of
from tests.integration.test_guard_holds_variants import PRIMARY, drop_one_and_shrink, make_whole, told_of
from tests.integration.test_runs_cut_short import ACTIVE, gives_up
from tests.support.image_jobs import HeldRun
from tests.support.stack import Stack


def move(feed: SampleFeed, left: str, taker: str) -> str:
    """A variant goes from one document to another; returns its SKU."""
    moving = feed.document(left)["ChildProducts"][2]
    feed.remove_variant(left, moving["Sku"])
    feed.edit(taker, lambda document: document["ChildProducts"].append(moving))
    return str(moving["Sku"])


def call_files_otherwise(feed: SampleFeed, skus: list[str]) -> list[str]:
    """The files of these families have other names; returns them."""
    for sku in skus:
        document = feed.document(sku)
        feed.remove_family(sku)
        feed.set_document("A23", f"{sku}-v2.json", document)
    return [f"{sku}-v2.json" for sku in skus]


async def assert_moved(stack: Stack, moving: str, taker: str, before: int) -> None:
    await stack.sync()
    assert await stack.value(OWNER, sku=moving) == taker
    assert await told_of(stack, moving, before) == [("updated", ["productSku"])]
    run = await stack.run("A23")
    assert (run["status"], run["variants_discontinued"], run["variants_reactivated"]) == ("completed", 0, 0)


async def test_a_variant_that_moved_to_a_document_that_fails_waits_for_it(make_stack: MakeStack) -> None:
    feed = plain_feed(families=4)
    async with make_stack(feed, job_max_attempts=1) as stack:
        left, taker, *_ = skus_of(feed)
        await stack.sync()
        before, moving = len(await numbered(stack)), move(feed, left, taker)
        stack.server.faults.add(f"*/{taker}.json", "status", status=500)
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["variants_discontinued"]) == ("completed_with_errors", 0)
        assert await stack.value(ACTIVE, sku=moving) == "active"
        stack.server.faults.clear()
        await assert_moved(stack, moving, taker, before)


async def test_a_variant_that_moved_to_what_skus_do_not_name_waits_for_a_whole_sync(make_stack: MakeStack) -> None:
    feed = plain_feed(families=4)
    async with make_stack(feed) as stack:
        left, taker, *_ = skus_of(feed)
        await stack.sync()
        before, moving = len(await numbered(stack)), move(feed, left, taker)
        await stack.sync("A23", skus=(left,))
        assert await stack.value(ACTIVE, sku=moving) == "active"
        await assert_moved(stack, moving, taker, before)


@pytest.mark.parametrize("later", ["skus", "reparse"])
async def test_what_a_run_that_was_cut_short_dropped_is_not_another_kinds_to_settle(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    feed = plain_feed(families=4)
    async with make_stack(feed, job_max_attempts=1) as stack:
        left, taker, *_, other = skus_of(feed)
        await stack.sync()
        before, moving = len(await numbered(stack)), move(feed, left, taker)
        stack.server.faults.add(f"*/{taker}.json", "status", status=500)
        with monkeypatch.context() as patch:
            patch.setattr(supplier_stage, "_group_families", gives_up)
            run = HeldRun(stack)
            await run.work(await run.begin())
        stack.server.faults.clear()
        await stack.sync("A23", **({"reparse": True} if later == "reparse" else {"skus": (other,)}))
        assert await stack.value(ACTIVE, sku=moving) == "active"
        await assert_moved(stack, moving, taker, before)


@pytest.mark.parametrize("later", ["skus", "reparse"])
async def test_what_a_run_for_some_or_of_stored_documents_finds_gone_goes_where_all_others_are_read(
    make_stack: MakeStack, later: str
) -> None:
    feed = plain_feed(families=4)
    async with make_stack(feed) as stack:
        family = skus_of(feed)[0]
        await stack.sync()
        before, gone = len(await numbered(stack)), str(await stack.value(PRIMARY, sku=family))
        feed.remove_variant(family, gone)
        if later == "reparse":
            await cancelled_before_its_families(stack)
        await stack.sync("A23", **({"reparse": True} if later == "reparse" else {"skus": (family,)}))
        assert (await active(stack, family), len(await stack.rows(PRIMARY, sku=family))) == (2, 1)
        assert (await stack.run("A23"))["variants_discontinued"] == 1
        assert await told_of(stack, gone, before) == [("discontinued", ["isPrimary"])]


async def test_a_family_goes_with_its_variants_beside_a_document_that_fails(make_stack: MakeStack) -> None:
    feed = plain_feed(families=4)
    async with make_stack(feed, job_max_attempts=1) as stack:
        await stack.sync()
        gone, broken, other, _ = skus_of(feed)
        feed.remove_family(gone)
        feed.change_price(other)
        feed.rehash(broken)
        stack.server.faults.add(f"*/{broken}.json", "status", status=500)
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["variants_discontinued"]) == ("completed_with_errors", 3)
        assert (await active(stack, gone), await active(stack, broken)) == (0, 3)
        assert await stack.value("SELECT status FROM products WHERE sku = :sku", sku=gone) == "discontinued"


async def test_skus_let_nothing_go_behind_a_manifest_that_the_guard_doubts(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    async with make_stack(feed) as stack:
        await stack.sync()
        family = drop_one_and_shrink(feed)
        await stack.sync("A23", skus=(family,))
        assert await active(stack, family) == 3
        await stack.sync()
        run = await stack.run("A23")
        assert (run["guard"] is not None, await active(stack, family)) == (True, 3)
        make_whole(feed)
        await stack.sync()
        assert await active(stack, family) == 2


async def test_a_document_that_fails_in_each_run_is_not_waited_for_without_end(make_stack: MakeStack) -> None:
    feed = plain_feed(families=4)
    async with make_stack(feed, job_max_attempts=1) as stack:
        smaller, broken, missing, other = skus_of(feed)
        await stack.sync()
        feed.remove_variant(smaller, feed.document(smaller)["ChildProducts"][2]["Sku"])
        feed.set_document("A23", f"{broken}.json", b"{no JSON at all")
        feed.remove_family(missing)
        for left in ((3, 0), (3, 0), (2, 0)):
            feed.change_price(other)  # else all that the run asks for fails, and so does it
            await stack.sync()
            run = await stack.run("A23")
            assert (run["status"], run["documents_failed"]) == ("completed_with_errors", 1), "nobody waits unawares"
            assert (await active(stack, smaller), await active(stack, missing)) == left
        assert await active(stack, broken) == 3


async def test_families_whose_files_have_other_names_stay_where_every_document_is_refused(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=10, variants=1)
    async with make_stack(feed, job_max_attempts=1) as stack:
        skus = skus_of(feed)
        await stack.sync()
        before = len(await numbered(stack))
        call_files_otherwise(feed, skus[:3])
        for sku in skus[3:]:
            feed.rehash(sku)
        stack.server.faults.add("*/A23/*.json", "status", status=403)
        await stack.sync()
        assert (await stack.run("A23"))["status"] == "failed"
        assert await stack.value("SELECT count(*) FROM products WHERE status = 'active'") == 10
        stack.server.faults.clear()
        await stack.sync()
        assert (await stack.run("A23"))["status"] == "completed"
        assert (await numbered(stack))[before:] == []


async def test_a_run_that_fails_by_its_documents_lets_nothing_go_however_often_they_failed(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=4)
    async with make_stack(feed, job_max_attempts=1) as stack:
        await stack.sync()
        gone, *kept = skus_of(feed)
        feed.remove_family(gone)
        for sku in kept:
            feed.rehash(sku)
        stack.server.faults.add("*/A23/*.json", "status", status=500)
        for _ in range(4):
            await stack.sync()
            assert ((await stack.run("A23"))["status"], await active(stack, gone)) == ("failed", 3)
        stack.server.faults.clear()
        await stack.sync()
        assert await active(stack, gone) == 0
