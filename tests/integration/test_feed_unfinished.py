"""What a run left unfinished is taken up by the next ordinary sync, from what counts (ENGINE.md 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from app.jobs.definitions import PRODUCT_FAMILY
from app.persistence.catalogue.removals import TAKERS
from app.persistence.ledger import ClaimedJob
from app.samplefeed import SampleFeed
from app.sync.operating.by_hand import cancel_run
from app.sync.operating.dry_run import dry_run
from app.sync.operating.start import StartRequest
from app.sync.running.outcomes import end_cancelled
from app.sync.supplier import stage as supplier_stage
from app.sync.supplier.removals_step import SupplierEnd, finish_supplier
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import active, first_sku, plain_feed
from tests.integration.test_feed_corners import OWNER, confirm
from tests.support.image_jobs import HeldRun
from tests.support.stack import Stack

NAME = "SELECT content -> 'name' ->> 'nl' FROM products WHERE sku = :sku"

CLEAN = "SELECT clean_manifest IS NOT NULL FROM suppliers WHERE code = 'A23'"
STATUSES = "SELECT status, count(*) AS number FROM products GROUP BY status ORDER BY status"


def skus_of(feed: SampleFeed) -> list[str]:
    return sorted(entry.file_name.removesuffix(".json") for entry in feed.entries("A23"))


async def cancelled_before_its_families(stack: Stack, **options: Any) -> None:
    """A run whose documents are stored and whose family jobs are cancelled."""
    run = HeldRun(stack)
    jobs = await run.begin(**options)
    await cancel_run(stack.services, run.run_id)
    await end_cancelled(run.surroundings, [job.id for job in jobs])
    assert (await stack.run("A23"))["status"] == "cancelled"


async def failing(run: HeldRun, stack: Stack, jobs: Sequence[ClaimedJob]) -> None:
    """Have family jobs fail for good: what is stored of their documents cannot be read."""
    async with stack.services.database.begin() as db:
        await db.execute(text("UPDATE document_bodies SET body = 'no zstd'"))
    await run.work(jobs)
    assert {job["state"] for job in await stack.rows("SELECT state FROM jobs WHERE run_id = :id", id=run.run_id)} == {
        "completed",
        "failed",
    }


def call(document: dict[str, Any], name: str) -> None:
    for language in document["ProductDetails"].values():
        language["Name"] = name


async def test_a_new_body_under_the_old_hash_is_taken_up_when_its_family_was_cancelled_or_failed(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=2, variants=1)
    async with make_stack(feed, job_max_attempts=1) as stack:
        sku = first_sku(feed)
        await stack.sync()
        feed.edit(sku, lambda document: call(document, "after a cancel"), rehash=False)
        await cancelled_before_its_families(stack, force=True)
        stack.server.log.reset()
        await stack.sync()
        assert await stack.value(NAME, sku=sku) == "after a cancel"
        assert dict(stack.server.log.counts) == {"manifest": 1}

        feed.edit(sku, lambda document: call(document, "after a failure"), rehash=False)
        run = HeldRun(stack)
        await failing(run, stack, await run.begin(force=True))
        stack.server.log.reset()
        await stack.sync()
        assert await stack.value(NAME, sku=sku) == "after a failure"
        assert stack.server.log.counts["document"] == 2

        stack.server.log.reset()
        await stack.sync()
        assert dict(stack.server.log.counts) == {"manifest": 1}
        assert (await stack.run("A23"))["families_total"] == 0


async def test_a_body_kept_from_a_cancelled_run_counts_only_for_the_hash_it_was_fetched_under(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=2, variants=1)
    async with make_stack(feed, job_max_attempts=1) as stack:
        sku, other = skus_of(feed)
        feed.set_hash(sku, "a" * 40)
        await stack.sync()
        first, document = await stack.value(NAME, sku=sku), feed.document(sku)
        feed.edit(sku, lambda changed: call(changed, "never meant"))
        feed.set_hash(sku, "b" * 40)
        await cancelled_before_its_families(stack)
        feed.set_document("A23", f"{sku}.json", document)
        feed.set_hash(sku, "a" * 40)
        feed.rename(other)
        await stack.sync()
        assert (await stack.value(NAME, sku=sku), (await stack.run("A23"))["status"]) == (first, "completed")
        assert await stack.rows("SELECT 1 FROM changes WHERE kind = 'updated' AND sku = :sku", sku=sku) == []

        feed.edit(sku, lambda changed: call(changed, "kept"))
        feed.set_hash(sku, "c" * 40)
        await cancelled_before_its_families(stack)
        feed.edit(sku, lambda changed: call(changed, "asked for"))
        feed.set_hash(sku, "d" * 40)
        stack.server.faults.add(f"*/{sku}.json", "status", status=500)
        await stack.sync()
        assert await stack.value(NAME, sku=sku) == first
        stack.server.faults.clear()
        await stack.sync()
        assert await stack.value(NAME, sku=sku) == "asked for"


async def test_families_that_documents_left_stay_guarded_until_the_manifest_is_confirmed(make_stack: MakeStack) -> None:
    feed = plain_feed(families=7, variants=1)
    async with make_stack(feed) as stack:
        await stack.sync()
        for sku in skus_of(feed):
            feed.edit(sku, lambda document: document.update(Sku=document["Sku"] + "B"))
        for _ in range(2):
            await stack.sync()
            run = await stack.run("A23")
            assert (run["status"], run["guard"]["wouldRemove"]) == ("completed_with_errors", 7)
        assert not await stack.value(CLEAN)
        (look,) = await dry_run(stack.services, StartRequest())
        assert look.guard == run["guard"], "a dry run says so, too"
        await confirm(stack, str(run["manifest_sha256"]))
        assert await stack.rows(STATUSES) == [
            {"status": "active", "number": 7},
            {"status": "discontinued", "number": 7},
        ]
        await stack.sync()
        assert ((await stack.run("A23"))["guard"], await stack.value(CLEAN)) == (None, True)


async def test_what_came_with_a_manifest_that_is_held_back_makes_nothing_of_it_few_of_many(
    make_stack: MakeStack,
) -> None:
    """Three families go and three come; next time three of six would be few enough to go without anybody's word."""
    feed = plain_feed(families=3, variants=1)
    async with make_stack(feed) as stack:
        await stack.sync()
        for sku in skus_of(feed):
            feed.remove_family(sku)
        for _ in range(3):
            feed.add_family("A23")
        for more in (0, 0, 1):  # also where the manifest goes on changing
            for _ in range(more):
                feed.add_family("A23")
            await stack.sync()
            run = await stack.run("A23")
            assert (run["guard"]["wouldRemove"], run["guard"]["active"]) == (3, 3)
            (look,) = await dry_run(stack.services, StartRequest())
            assert look.guard == run["guard"]
        await confirm(stack, str(run["manifest_sha256"]))
        assert {"status": "discontinued", "number": 3} in await stack.rows(STATUSES)
        feed.remove_family(skus_of(feed)[0])
        await stack.sync()
        run = await stack.run("A23")
        assert (run["guard"], run["manifest_removed"]) == (None, 1)


async def test_what_only_a_missing_document_listed_goes_though_the_familys_job_never_ends(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=4, variants=1)

    def alone(document: dict[str, Any]) -> None:
        document.update(ProductDetails=document["ChildProducts"][0]["ProductDetails"], ChildProducts=[], ANumber="F1")

    async with make_stack(feed) as stack:
        for sku in skus_of(feed):
            feed.edit(sku, alone)
        await stack.sync()
        assert await active(stack, "F1") == 4
        feed.remove_family(skus_of(feed)[0])
        await cancelled_before_its_families(stack)
        assert await active(stack, "F1") == 3
        for families, clean in ((1, False), (0, True)):
            await stack.sync()
            assert ((await stack.run("A23"))["families_total"], await stack.value(CLEAN)) == (families, clean)
        assert await stack.value("SELECT count(*) FROM variants WHERE is_primary AND status = 'active'") == 1


async def test_a_family_that_could_not_take_a_variant_over_is_tried_again_by_each_sync(make_stack: MakeStack) -> None:
    feed = plain_feed(families=2)
    async with make_stack(feed, job_max_attempts=1) as stack:
        taker, owner = skus_of(feed)
        shared = feed.document(owner)["ChildProducts"][0]
        await stack.sync()
        feed.edit(taker, lambda document: document["ChildProducts"].append(shared))
        await stack.sync()
        assert await stack.value(OWNER, sku=shared["Sku"]) == owner
        spoil = "UPDATE document_bodies SET body = decode('00', 'hex') || body WHERE document_id = {}"
        mend = "UPDATE document_bodies SET body = substr(body, 2) WHERE document_id = {}"
        its = f"(SELECT id FROM documents WHERE sku = '{taker}')"
        async with stack.services.database.begin() as db:
            await db.execute(text(spoil.format(its)))
        feed.remove_variant(owner, shared["Sku"])
        for _ in range(2):
            await stack.sync()
            assert (await stack.run("A23"))["families_failed"] == 1
        async with stack.services.database.begin() as db:
            await db.execute(text(mend.format(its)))
        await stack.sync()
        assert await stack.value(OWNER, sku=shared["Sku"]) == taker
        assert not await stack.value(CLEAN)
        await stack.sync()
        assert await stack.value(CLEAN)


async def test_who_takes_a_variant_over_goes_by_code_point_whatever_the_database_sorts_by(stack: Stack) -> None:
    """In English `A23-100-1` is after `A23-1000`; the embedded server knows no English, so it is asked how it sorts."""
    plan = await stack.rows(f"EXPLAIN (VERBOSE, COSTS OFF) {TAKERS}", supplier_id=1, but_not=[])
    assert any('COLLATE "C"' in line for row in plan for line in row.values() if "min(" in line), plan


async def test_a_family_that_lost_all_children_is_doubted_also_where_its_a_number_is_a_familys(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=2)
    async with make_stack(feed) as stack:
        sku, other = skus_of(feed)
        feed.edit(sku, lambda document: document.update(ANumber="100804"))
        await stack.sync()
        feed.edit(sku, lambda document: document.update(ChildProducts=[]))
        await stack.sync()
        assert await stack.rows("SELECT sku FROM products ORDER BY sku") == [{"sku": sku}, {"sku": other}]
        assert await active(stack, sku) == 3
        assert [problem["kind"] for problem in await stack.problems("A23")] == ["suspect"]


async def with_families_first(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> list[ClaimedJob]:
    """Bring a run past its supplier job, whose last commit finds all its families written; returns what is left."""
    run = HeldRun(stack)

    async def families_first(end: SupplierEnd) -> None:
        await run.work(await run.claim(PRODUCT_FAMILY))
        await finish_supplier(end)

    monkeypatch.setattr(supplier_stage, "finish_supplier", families_first)
    left = await run.begin()
    await run.work(left)
    return left


@pytest.mark.parametrize(("file", "renamed"), [("1", "3"), ("3", "1")])
async def test_what_is_warned_of_a_group_before_a_file_is_known_to_be_gone_is_withdrawn(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch, file: str, renamed: str
) -> None:
    """Until then a variant is in two documents, either of which may be the first by name: warnings bear its address."""
    feed = plain_feed(families=1)
    kid = {**feed.document(skus_of(feed)[0])["ChildProducts"][0], "ANumber": "C"}
    for name, sku in (("2", "C-1"), (file, "C-2")):
        feed.set_document("A23", f"{name}.json", {**kid, "Sku": sku})
    async with make_stack(feed) as stack:
        await stack.sync()
        feed.remove_family(file)
        feed.set_document("A23", f"{renamed}.json", {**kid, "Sku": "C-2"})
        await with_families_first(stack, monkeypatch)
        assert [item["reason"] for item in await stack.problems("A23") if item["stage"] == "family"] == []
        assert await active(stack, "C") == 2


async def test_families_that_the_run_brought_in_before_the_guard_looked_do_not_count_for_it(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = plain_feed(families=4, variants=1)
    async with make_stack(feed) as stack:
        back, *gone = skus_of(feed)
        await stack.sync()
        feed.hide_family(back)
        await stack.sync()
        for sku in gone:
            feed.remove_family(sku)
        feed.restore_family(back)
        feed.add_family("A23")
        await with_families_first(stack, monkeypatch)
        guard = (await stack.run("A23"))["guard"]
        assert (guard["wouldRemove"], guard["active"]) == (3, 3)
        assert await stack.rows(STATUSES) == [{"status": "active", "number": 5}]


async def test_a_family_that_is_put_off_to_the_end_of_its_run_counts_once(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = plain_feed(families=3, variants=4)
    async with make_stack(feed) as stack:
        await stack.sync()
        doubted, changed, _ = skus_of(feed)
        feed.keep_variants(doubted, 1)
        feed.rename(changed)
        (again,) = await with_families_first(stack, monkeypatch)
        assert again.args["family_sku"] == doubted
        run = await stack.run("A23")
        assert (run["families_total"], run["families_completed"]) == (2, 2)
        result = await stack.value("SELECT result FROM jobs WHERE id = :id", id=run["supplier_job_id"])
        assert result == {"familiesEnqueued": 2, "familiesSkipped": 1, "efficiency": "33%"}
