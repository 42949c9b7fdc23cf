"""Runs that end early, are retried, or reset: what they leave is neither lost nor believed too early."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.errors import ClaimLost, Conflict, DatabaseUnavailable, PermanentError
from app.failpoints import arm
from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, SUPPLIER_SYNC, QueueName
from app.persistence import documents, ledger, runs
from app.persistence.catalogue import count_active_families, take_dropped, takers
from app.persistence.ledger import ClaimedJob, NewJob
from app.sync.operating.by_hand import cancel_job, cancel_run, pause, resume, retry_failed, retry_job
from app.sync.operating.start import StartRequest, start_queued
from app.sync.operating.suppliers import reset_supplier, update_supplier
from app.sync.stage.context import Stage
from app.sync.stage.progress import ProgressBoard
from app.sync.supplier import arrivals_step, reparse
from app.sync.supplier import stage as supplier_stage
from app.sync.supplier.removals_step import SupplierEnd, finish_supplier
from app.sync.upkeep.reconcile import reconcile
from app.views.bodies import SupplierChanges
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import active, first_sku, numbered, plain_feed
from tests.integration.test_feed_corners import OWNER, fail_supplier_job
from tests.integration.test_feed_unfinished import CLEAN, skus_of
from tests.support.image_jobs import HeldRun
from tests.support.stack import Stack

ACTIVE = "SELECT status FROM variants WHERE sku = :sku"


async def gives_up(*_: Any) -> None:
    raise PermanentError("no use", "test")


async def claim(stack: Stack, queue: QueueName) -> ClaimedJob:
    ids = [row["id"] for row in await stack.rows("SELECT id FROM jobs WHERE queue = :queue", queue=queue)]
    async with stack.services.database.quick() as db:
        ((job,), _) = await ledger.claim(db, ids, queue=queue)
    return job


async def complete(stack: Stack, job: ClaimedJob) -> None:
    async with stack.services.database.begin() as db:
        await ledger.complete_one(db, job)
        await runs.book(db, job.run_id, runs.cancelled_counts({}), finished=1)


async def test_a_reparse_believes_nothing_that_was_to_be_read_once_more(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = plain_feed(families=1, variants=6)
    async with make_stack(feed, job_max_attempts=1) as stack:
        sku = first_sku(feed)
        await stack.sync()
        feed.keep_variants(sku, 1)
        for anew in (False, True):
            await stack.sync(reparse=anew)
            assert await active(stack, sku) == 6
            assert [problem["kind"] for problem in await stack.problems("A23")] == ["suspect"]
            assert (await stack.run("A23"))["families_total"] == 1
        await stack.sync()
        assert await active(stack, sku) == 1, "read once more, past caches, and believed"
        await stack.sync()
        assert await stack.value(CLEAN)
        monkeypatch.setattr(reparse, "_finish", gives_up)
        await stack.sync(reparse=True)
        assert not await stack.value(CLEAN), "what its families dropped is for the next sync to settle"


@pytest.mark.parametrize("doubted", [False, True])
async def test_what_families_drop_in_a_run_whose_documents_did_not_all_come_may_have_moved(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch, doubted: bool
) -> None:
    feed = plain_feed(families=8)
    async with make_stack(feed, job_max_attempts=1) as stack:
        left, taker, *_ = skus_of(feed)
        moving = feed.document(left)["ChildProducts"][2]
        await stack.sync()
        before = len(await numbered(stack))
        feed.remove_variant(left, moving["Sku"])
        feed.edit(taker, lambda document: document["ChildProducts"].append(moving))
        stack.server.faults.add(f"*/{taker}.json", "status", status=500)
        with monkeypatch.context() as patch:
            patch.setattr(supplier_stage, "_group_families", gives_up)
            run = HeldRun(stack)
            await run.work(await run.begin())
        assert (await stack.run("A23"))["status"] == "failed"
        assert await stack.value(ACTIVE, sku=moving["Sku"]) == "active"
        stack.server.faults.clear()
        if doubted:
            feed.hide_family(taker)
            feed.set_manifest(feed.manifest().rstrip()[:-45])
            await stack.sync()
            assert ((await stack.run("A23"))["guard"] is not None, await stack.value(ACTIVE, sku=moving["Sku"])) == (
                True,
                "active",
            ), "nothing is removed, be it an earlier run that dropped it"
            feed.restore_family(taker)
            feed.set_manifest(None)
        await stack.sync()
        assert await stack.value(OWNER, sku=moving["Sku"]) == taker
        told = [row for row in (await numbered(stack))[before:] if row["sku"] == moving["Sku"]]
        assert [(row["kind"], row["fields"]) for row in told] == [("updated", ["productSku"])]


async def test_what_a_run_under_way_dropped_is_its_own_to_settle(make_stack: MakeStack) -> None:
    """As when a family's job of an older run is retried by hand meanwhile."""
    async with make_stack(plain_feed(families=2, variants=1)) as stack:
        await stack.sync()
        (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
        gone, listed = [row["sku"] for row in await stack.rows("SELECT sku FROM variants ORDER BY sku")]
        async with stack.services.database.begin() as db:
            await db.execute(text("UPDATE variants SET dropped_run_id = :run_id"), {"run_id": started.run_id})
            await db.execute(text("DELETE FROM listings WHERE variant_sku = :sku"), {"sku": gone})
            supplier_id = await db.scalar(text("SELECT min(id) FROM suppliers"))
            assert (await take_dropped(db, supplier_id, all_families=True), await takers(db, supplier_id, [])) == (
                [],
                [],
            )
            await db.execute(text("UPDATE jobs SET state = 'cancelled' WHERE id = :id"), {"id": started.job_id})
            assert [item.sku for item in await take_dropped(db, supplier_id, all_families=True)] == [gone]
            family = await db.scalar(text(OWNER), {"sku": listed})
            assert [sku for sku, _ in await takers(db, supplier_id, [])] == [family]


async def test_a_sync_that_is_retried_while_its_run_goes_on_does_not_fail_the_run(stack: Stack) -> None:
    (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
    job = NewJob("a-family", PRODUCT_FAMILY, "a-family", {"family_sku": "x", "version": 1})
    async with stack.services.database.begin() as db:
        supplier_id = await db.scalar(text("SELECT supplier_id FROM runs"))
        await ledger.add_jobs(db, [job], run_id=started.run_id, supplier_id=supplier_id, direct=False)
        await runs.book(db, started.run_id, runs.cancelled_counts({}), added=1)
    await fail_supplier_job(stack, started.job_id)
    assert (await stack.run("A23"))["fatal"]
    await retry_job(stack.services, SUPPLIER_SYNC, started.job_id)
    for queue in (SUPPLIER_SYNC, PRODUCT_FAMILY):
        await complete(stack, await claim(stack, queue))
    run = await stack.run("A23")
    assert (run["status"], run["error"], run["open_jobs"]) == ("completed", None, 0)


async def test_a_sync_that_is_retried_long_after_counts_what_later_runs_brought_in(make_stack: MakeStack) -> None:
    async with make_stack(plain_feed(families=4, variants=1)) as stack:
        (old,) = await start_queued(stack.services, StartRequest(supplier="A23"))
        await fail_supplier_job(stack, old.job_id)
        (newer,) = await stack.sync()
        async with stack.services.database.read() as db:
            supplier_id = await db.scalar(text("SELECT min(id) FROM suppliers"))
            seen = [await count_active_families(db, supplier_id, run) for run in (old.run_id, newer.run_id)]
        assert seen == [4, 0]


async def test_a_failed_sync_of_an_inactive_supplier_is_not_retried(stack: Stack) -> None:
    """As none of it is started."""
    (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
    await fail_supplier_job(stack, started.job_id)
    await update_supplier(stack.services.database, "A23", SupplierChanges(isActive=False))
    with pytest.raises(Conflict, match="supplier A23 is inactive: activate it"):
        await retry_job(stack.services, SUPPLIER_SYNC, started.job_id)
    assert await retry_failed(stack.services, SUPPLIER_SYNC) == 0
    await update_supplier(stack.services.database, "A23", SupplierChanges(isActive=True))
    assert await retry_failed(stack.services, SUPPLIER_SYNC) == 1


@pytest.mark.parametrize("by", ["its run", "its job"])
async def test_a_sync_that_is_retried_after_its_run_can_be_cancelled_and_its_supplier_is_free(
    stack: Stack, by: str
) -> None:
    """Active, and with a family's job that waits; the run stays as it ended, and its books balance."""
    (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
    await fail_supplier_job(stack, started.job_id)
    await retry_job(stack.services, SUPPLIER_SYNC, started.job_id)
    mine = await claim(stack, SUPPLIER_SYNC)
    job = NewJob("a-family", PRODUCT_FAMILY, "a-family", {"family_sku": "x", "version": 1})
    async with stack.services.database.begin() as db:
        await ledger.add_jobs(db, [job], run_id=started.run_id, supplier_id=mine.supplier_id, direct=False)
        await runs.book(db, started.run_id, runs.cancelled_counts({}), added=1)
    if by == "its run":
        await cancel_run(stack.services, started.run_id)
    else:
        await cancel_job(stack.services, SUPPLIER_SYNC, started.job_id)
    run = await stack.run("A23")
    assert (run["status"], run["open_jobs"], run["families_cancelled"]) == ("failed", 0, 1)
    assert {row["state"] for row in await stack.rows("SELECT state FROM jobs")} == {"cancelled"}
    async with stack.services.database.begin() as db:
        with pytest.raises(ClaimLost):
            await ledger.fence(db, mine)
    with pytest.raises(Conflict, match="is over"):
        await cancel_run(stack.services, started.run_id)
    assert [result.errors for result in await stack.sync("A23")] == [0]


async def test_what_a_dead_worker_left_of_a_cancelled_run_is_closed_by_any_worker(stack: Stack) -> None:
    (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
    await claim(stack, SUPPLIER_SYNC)
    await cancel_run(stack.services, started.run_id)
    async with stack.services.database.begin() as db:
        await db.execute(text("UPDATE jobs SET started_at = clock_timestamp() - interval '1 min'"))
    queue = stack.services.queue
    assert queue is not None
    surroundings = Stage(stack.services, queue, ProgressBoard(stack.services.database))
    await reconcile(surroundings, queue, IMAGE_UPLOAD, lease_ms=1_000, whole=False)
    run = await stack.run("A23")
    assert (run["status"], run["open_jobs"]) == ("cancelled", 0)


async def test_what_a_dead_worker_left_in_a_paused_queue_waits(stack: Stack) -> None:
    """Nobody claims it before the queue is resumed, and none that has its lease is taken for dead."""
    (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
    queue = stack.services.queue
    assert queue is not None
    surroundings = Stage(stack.services, queue, ProgressBoard(stack.services.database))

    async def look() -> tuple[str, int]:
        await reconcile(surroundings, queue, SUPPLIER_SYNC, lease_ms=60_000, whole=False)
        (job,) = await stack.rows("SELECT state, deaths FROM jobs WHERE id = :id", id=started.job_id)
        return job["state"], job["deaths"]

    assert (await queue.exchange(SUPPLIER_SYNC, "dies", lease_ms=1_000, room=1)).ids == [started.job_id]
    await claim(stack, SUPPLIER_SYNC)
    await pause(stack.services, SUPPLIER_SYNC)
    assert await look() == ("active", 0)
    await asyncio.sleep(1.2)
    assert await look() == ("waiting", 1)
    await resume(stack.services, SUPPLIER_SYNC)
    assert (await queue.exchange(SUPPLIER_SYNC, "lives", lease_ms=60_000, room=1)).ids == [started.job_id]
    assert (await claim(stack, SUPPLIER_SYNC)).deaths == 1


async def test_a_lease_that_is_over_is_left_to_who_claims_it_where_nothing_is_paused(stack: Stack) -> None:
    (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
    queue = stack.services.queue
    assert queue is not None
    await queue.exchange(SUPPLIER_SYNC, "dies", lease_ms=1, room=1)
    await claim(stack, SUPPLIER_SYNC)
    surroundings = Stage(stack.services, queue, ProgressBoard(stack.services.database))
    await reconcile(surroundings, queue, SUPPLIER_SYNC, lease_ms=60_000, whole=False)
    assert await stack.value("SELECT state FROM jobs WHERE id = :id", id=started.job_id) == "active"


async def test_a_reset_while_a_run_ends_is_not_forgotten(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_stack(plain_feed()) as stack:
        await stack.sync()

        async def reset_first(end: SupplierEnd) -> None:
            await reset_supplier(stack.services.database, "A23")
            await finish_supplier(end)

        with monkeypatch.context() as patch:
            patch.setattr(supplier_stage, "finish_supplier", reset_first)
            await stack.sync()
        stack.server.log.reset()
        await stack.sync()
        assert dict(stack.server.log.counts) == {"manifest": 1, "document": 3}


async def test_a_worker_that_lost_its_claim_does_not_pass_over_documents_either(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = plain_feed(families=1, variants=1)
    sku = first_sku(feed)
    feed.set_document("A23", "zz-double.json", feed.document(sku))
    place = supplier_stage._place_documents

    async def claimed_by_another(sync: supplier_stage.SupplierSync) -> None:
        async with stack.services.database.begin() as db:
            await db.execute(text("UPDATE jobs SET claim = :claim WHERE queue = 'supplier-sync'"), {"claim": uuid4()})
        await place(sync)

    monkeypatch.setattr(supplier_stage, "_place_documents", claimed_by_another)
    async with make_stack(feed) as stack:
        await HeldRun(stack).begin()
        passed = "SELECT applied_version IS NOT NULL FROM documents WHERE file_name = 'zz-double.json'"
        assert not await stack.value(passed)


@pytest.mark.parametrize("answer_lost", [False, True])
async def test_documents_that_wait_for_their_commit_through_an_outage_are_not_fetched_again(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch, answer_lost: bool
) -> None:
    store, tries = documents.store_fetched, 0

    async def away_at_first(db: Any, run_id: str, arrived: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3 and not answer_lost:
            raise DatabaseUnavailable("PostgreSQL is away")
        return await store(db, run_id, arrived)

    monkeypatch.setattr(documents, "store_fetched", away_at_first)
    monkeypatch.setattr(arrivals_step, "COMMIT_FIRST_AFTER_S", 30.0)  # all of them in one
    async with make_stack(plain_feed(families=5, variants=1), job_max_attempts=1) as stack:
        stack.server.log.reset()
        arm("supplier.arrivals_step.Arrivals._commit:cut" if answer_lost else None)
        try:
            await stack.sync()
        finally:
            arm(None)
        asked = {kind: stack.server.log.counts[kind] for kind in ("manifest", "document")}
        assert (asked, tries) == ({"manifest": 1, "document": 5}, 1 if answer_lost else 3)
        run = await stack.run("A23")
        counted = (run["status"], run["documents_fetched"], run["families_total"], run["families_completed"])
        assert counted == ("completed", 5, 5, 5)


async def test_a_document_that_failed_counts_once_though_the_commits_answer_was_lost(make_stack: MakeStack) -> None:
    async with make_stack(plain_feed(families=2, variants=1)) as stack:
        stack.server.faults.add("document", "status", status=404)
        arm("supplier.arrivals_step.Arrivals._commit:cut")
        try:
            await stack.sync()
        finally:
            arm(None)
        run = await stack.run("A23")
        assert (run["status"], run["documents_failed"]) == ("failed", 2)
        assert await stack.value("SELECT count(*) FROM problems") == 2
