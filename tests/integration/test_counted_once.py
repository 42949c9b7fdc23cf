"""A run counts each document and variant that it leaves as it was once, however often it writes a family."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from app.catalogue.file_names import stem_of
from app.jobs.definitions import PRODUCT_FAMILY
from app.samplefeed import SampleFeed
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import make_variant_alone, plain_feed
from tests.integration.test_feed_unfinished import skus_of
from tests.support.image_jobs import HeldRun
from tests.support.stack import Stack

Json = dict[str, Any]
IN_VAIN = "SELECT count(*) FROM jobs WHERE jsonb_exists(result, 'documentsUnchanged')"


async def counted(stack: Stack) -> dict[str, int]:
    """What the newest run counted; all of its families came to an end."""
    run = await stack.run("A23")
    assert run["families_total"] == run["families_completed"]
    names = ("documents_fetched", "documents_unchanged", "variants_created", "variants_updated", "variants_unchanged")
    return {name: run[name] for name in names if run[name]}


def swap(feed: SampleFeed, one: str, other: str, **changes: str) -> None:
    """Each file gets the other one's document."""
    documents = [feed.document(one), feed.document(other)]
    for file, document in zip((other, one), documents, strict=True):
        document["ChildProducts"][0].update(changes)
        feed.edit(file, partial(dict.update, **document))


@pytest.mark.parametrize("late_first", [False, True])
async def test_documents_whose_files_are_swapped_are_counted_once(make_stack: MakeStack, late_first: bool) -> None:
    """Each family is written twice: for its document, and since another left it. Either job may be the first."""
    feed = plain_feed(families=8)
    one, other = skus_of(feed)[:2]
    async with make_stack(feed) as stack:
        await stack.sync()
        for changes, expected in (
            ({}, {"documents_unchanged": 2, "variants_unchanged": 6}),
            ({"Ean": "8712345678906"}, {"variants_updated": 2, "variants_unchanged": 4}),
        ):
            swap(feed, one, other, **changes)
            run = HeldRun(stack)
            jobs = await run.begin()
            assert len(jobs) == 4
            await run.work(jobs[::-1] if late_first else jobs)
            assert await counted(stack) == {"documents_fetched": 2, **expected}


def move_last(feed: SampleFeed, left: str, taking: str) -> Json:
    moving: Json = feed.document(left)["ChildProducts"][-1]
    feed.remove_variant(left, moving["Sku"])
    feed.edit(taking, lambda document: document["ChildProducts"].append(moving))
    return moving


@pytest.mark.parametrize("late", [0, 1])
async def test_a_move_changes_both_documents_whichever_comes_first(make_stack: MakeStack, late: int) -> None:
    """Where the family that takes is written first, it takes nothing yet; where the other one is, nothing is left."""
    feed = plain_feed(families=8)
    families = skus_of(feed)[:2]
    async with make_stack(feed) as stack:
        await stack.sync()
        move_last(feed, *families)
        stack.server.faults.add(f"*/{families[late]}.json", "slow", seconds=1.5)
        await stack.sync()
        assert await counted(stack) == {"documents_fetched": 2, "variants_updated": 1, "variants_unchanged": 5}
        assert await stack.value(IN_VAIN) == 0


async def test_a_family_that_lost_a_variant_before_it_is_written_is_not_as_it_was(make_stack: MakeStack) -> None:
    """Both documents are here, and the family that takes is written first: nothing is left to write of the other."""
    feed = plain_feed(families=8)
    left, taking = skus_of(feed)[:2]
    async with make_stack(feed) as stack:
        await stack.sync()
        move_last(feed, left, taking)
        run = HeldRun(stack)
        jobs = {str(job.args["family_sku"]): job for job in await run.begin()}
        await run.work([jobs[taking], jobs[left]])
        assert await counted(stack) == {"documents_fetched": 2, "variants_updated": 1, "variants_unchanged": 5}


async def test_what_a_later_job_of_the_run_changes_after_all_is_taken_back(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    left, taking = skus_of(feed)[:2]
    first = feed.document(taking)["ChildProducts"][0]["Sku"]
    feed.edit(taking, lambda document: document.update(DefaultProducts=None))
    async with make_stack(feed) as stack:
        await stack.sync()
        moving = move_last(feed, left, taking)
        feed.edit(taking, lambda document: document["ChildProducts"].insert(0, document["ChildProducts"].pop()))
        feed.edit(taking, lambda document: document.update(DefaultProducts=None))
        stack.server.faults.add(f"*/{left}.json", "slow", seconds=1.5)
        await stack.sync()
        primary = "SELECT is_primary FROM variants WHERE sku = :sku"
        assert await stack.value(primary, sku=moving["Sku"]), "what was taken over stands for the family"
        assert not await stack.value(primary, sku=first), "which was left as it was at first"
        assert await counted(stack) == {"documents_fetched": 2, "variants_updated": 2, "variants_unchanged": 4}
        results = "SELECT result FROM jobs WHERE queue = :queue AND args ->> 'family_sku' = :sku AND run_id = :run"
        run_id = (await stack.run("A23"))["id"]
        assert len(await stack.rows(results, queue=PRODUCT_FAMILY, sku=taking, run=run_id)) == 2
        assert await stack.value(IN_VAIN) == 0


def without_pictures(document: Json) -> None:
    """The feed serves no pictures for documents that it is given."""
    for part in (document, *document["ChildProducts"]):
        for texts in part["ProductDetails"].values():
            texts.update(Image=None, MediaGalleryImages=None)


@pytest.mark.parametrize("names", ["N{}.json", "A23-{}.json"])
async def test_files_that_are_renamed_and_come_back_are_counted_once(make_stack: MakeStack, names: str) -> None:
    """A document that came back is not fetched, and the one in its place speaks until the run's end, or never did."""
    feed = plain_feed(families=4)
    for sku in skus_of(feed):
        feed.edit(sku, without_pictures)
    own = {f"{sku}.json": feed.document(sku) for sku in skus_of(feed)}
    renamed = {names.format(stem_of(file)): document for file, document in own.items()}
    for file, document in own.items():
        feed.set_document("A23", file, document)
    async with make_stack(feed) as stack:
        await stack.sync()
        for here, gone, fetched in ((renamed, own, 4), (own, renamed, 0), (renamed, own, 0)):
            for file in gone:
                feed.remove_family(stem_of(file))
            for file, document in here.items():
                feed.set_document("A23", file, document, rehash=False)
            await stack.sync()
            run = await stack.run("A23")
            told = ("families_total", "families_completed", "documents_fetched", "variants_unchanged")
            assert [run[name] for name in told] == [4, 4, fetched, 12]


@pytest.mark.parametrize("late_first", [False, True])
async def test_a_family_of_a_document_that_comes_back_and_one_that_leaves_is_counted_once(
    make_stack: MakeStack, late_first: bool
) -> None:
    feed = plain_feed(families=5, variants=1)
    back, leaving, *others = skus_of(feed)
    for sku in (back, leaving, *others):
        feed.edit(sku, make_variant_alone)
    document = feed.document(back)
    async with make_stack(feed) as stack:
        await stack.sync()
        feed.remove_family(back)
        await stack.sync()
        feed.remove_family(leaving)
        feed.set_document("A23", f"{back}.json", document, rehash=False)
        run = HeldRun(stack)
        jobs = await run.begin()
        assert len(jobs) == 2
        await run.work(jobs[::-1] if late_first else jobs)
        found = await stack.run("A23")
        assert (found["documents_fetched"], found["variants_reactivated"], found["variants_unchanged"]) == (0, 1, 3)
