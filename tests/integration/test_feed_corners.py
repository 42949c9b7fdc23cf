"""Corners of ENGINE.md 1 to 5 that a review found: documents that do not count, change family, or stay dead."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.errors import ManifestUnreadable
from app.jobs.definitions import policies
from app.persistence import ledger, runs
from app.persistence.ledger import NewJob
from app.sync.operating.by_hand import retry_failed
from app.sync.operating.dry_run import dry_run
from app.sync.operating.start import StartRequest, start_queued
from app.sync.running.direct import DirectRun
from app.sync.running.outcomes import spend_attempt
from app.sync.stage.context import Stage
from app.sync.stage.progress import ProgressBoard
from app.sync.supplier import arrivals_step
from app.views.explained import explain
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import active, first_sku, plain_feed
from tests.support.stack import Stack

Json = dict[str, Any]
OWNER = "SELECT p.sku FROM variants v JOIN products p ON p.id = v.product_id WHERE v.sku = :sku"


async def status(stack: Stack, sku: str) -> str:
    return str(await stack.value("SELECT status FROM products WHERE sku = :sku", sku=sku))


async def test_what_only_a_document_that_does_not_count_lists_is_discontinued(make_stack: MakeStack) -> None:
    feed = plain_feed(families=3)
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        feed.set_document("A23", "zz-double.json", feed.document(sku))
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["families_failed"]) == ("completed_with_errors", 1)
        assert [item["kind"] for item in await stack.problems("A23")] == ["family-sku-twice"]
        gone = feed.document(sku)["ChildProducts"][2]["Sku"]
        feed.remove_variant(sku, gone)
        async with asyncio.timeout(30):
            await stack.sync()
        assert await active(stack, sku) == 2
        stack.server.log.reset()
        await stack.sync()
        assert dict(stack.server.log.counts) == {"manifest": 1}
        run = await stack.run("A23")
        assert (run["manifest_new"], run["families_total"], run["status"]) == (0, 0, "completed")


async def test_of_two_documents_without_children_for_one_sku_the_other_is_an_error_of_the_run(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=1)
    kid = feed.document(first_sku(feed))["ChildProducts"][0]
    for name, sku, number in (("0", "B/A-1", "A23"), ("B/A-1", "B/A-1", "A23"), ("c", "C-1", "C"), ("d", "C-2", "C")):
        lone = {**kid, "Sku": sku, "ANumber": number, "SupplierSku": name}
        feed.set_document("A23", f"{name.replace('/', '%2F')}.json", lone)
    async with make_stack(feed) as stack:
        await stack.sync()
        run = await stack.run("A23")
        assert (run["families_completed"], run["families_failed"]) == (3, 1), "C-1 and C-2 are one family"
        errors = [item for item in await stack.problems("A23") if item["kind"] == "family-sku-twice"]
        assert [(item["severity"], item["sku"]) for item in errors] == [("error", "B/A-1")]
        assert errors[0]["url"].endswith("/A23/0.json")
        own = await stack.value("SELECT content ->> 'supplierSku' FROM variants WHERE sku = 'B/A-1'")
        assert own == "B/A-1"


async def test_documents_that_fail_for_longer_than_a_slice_end_the_run(make_stack: MakeStack) -> None:
    """A slice is 9 s; three tries of 130 documents, ten at once and 0.3 s each, take 11.7 at least."""
    feed = plain_feed(families=130)
    async with make_stack(feed, job_timeout_supplier_ms=9000) as stack:
        stack.server.habits.latency_s = 0.3
        stack.server.faults.add("document", "status", status=500)
        async with asyncio.timeout(120):
            await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["documents_failed"]) == ("failed", 130)
        assert stack.server.log.counts["document"] <= 130 * 3 * 3  # what a slice's end cuts off is asked for again


async def test_a_document_that_changes_its_family_leaves_nothing_behind(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        await stack.sync()
        feed.edit(sku, lambda document: document.update(Sku=f"{sku}B"))
        await stack.sync()
        assert await status(stack, sku) == "discontinued"
        assert await active(stack, f"{sku}B") == 3
        assert await stack.value("SELECT count(*) FROM changes WHERE kind = 'discontinued' AND entity = 'variant'") == 0


async def test_a_doubted_document_without_a_hash_is_believed_when_read_again(make_stack: MakeStack) -> None:
    feed = plain_feed(families=1, variants=6)
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        feed.set_hash(sku, "")
        await stack.sync()
        feed.keep_variants(sku, 1)
        await stack.sync()
        assert await active(stack, sku) == 6
        await stack.sync()
        assert await active(stack, sku) == 1


async def test_a_new_hash_or_address_ends_the_pause_of_a_dead_document(make_stack: MakeStack) -> None:
    feed = plain_feed(families=2)
    async with make_stack(feed) as stack:
        rehashed, moved = (entry.file_name.removesuffix(".json") for entry in feed.entries("A23"))
        stack.server.faults.add("document", "status", status=404)
        for _ in range(3):
            await stack.sync()
        stack.server.faults.clear()
        await stack.sync()
        assert await stack.value("SELECT count(*) FROM products") == 0
        feed.rehash(rehashed)
        await stack.sync()
        assert (await active(stack, rehashed), await active(stack, moved)) == (3, 0)
        async with stack.services.database.begin() as db:
            await db.execute(text("UPDATE documents SET url = 'http://former.example.com/' || file_name"))
        await stack.sync()
        assert await active(stack, moved) == 3


async def test_confirmed_removals_are_carried_out_at_once(make_stack: MakeStack) -> None:
    feed = plain_feed(count=2, families=7)
    async with make_stack(feed, remove_after_runs=3) as stack:
        await stack.sync()
        feed.hide_supplier("A23")
        await stack.sync("A23")
        run = await stack.run("A23")
        assert run["guard"] is not None
        await confirm(stack, str(run["manifest_sha256"]))
        left = await stack.rows(
            """SELECT p.sku FROM products p JOIN suppliers s ON s.id = p.supplier_id
            WHERE s.code = 'A23' AND p.status = 'active'"""
        )
        assert left == []


async def confirm(stack: Stack, sha256: str) -> None:
    """A direct run that carries an operator's confirmation."""
    supplier_id = await stack.value("SELECT id FROM suppliers WHERE code = 'A23'")
    job = NewJob("confirming", "supplier-sync", "A23", {"supplier_id": supplier_id})
    async with stack.services.database.begin() as db:
        options = ledger.RunOptions(confirmed_manifest=sha256)
        run = await runs.start_run(
            db,
            run_id=str(uuid4()),
            supplier_id=supplier_id,
            job_id=job.id,
            mode="direct",
            trigger="api",
            options=options,
        )
        await ledger.add_jobs(db, [job], run_id=run.run_id, supplier_id=supplier_id, direct=True)
    await DirectRun(stack.services, run.run_id).to_its_end()


async def test_most_of_a_family_that_moved_to_a_later_document_is_not_doubted(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8, variants=5)
    async with make_stack(feed) as stack:
        skus = sorted(entry.file_name.removesuffix(".json") for entry in feed.entries("A23"))
        await stack.sync()
        moving = feed.document(skus[0])["ChildProducts"][1:]
        feed.keep_variants(skus[0], 1)
        feed.edit(skus[5], lambda document: document["ChildProducts"].extend(moving))
        stack.server.faults.add(f"*/{skus[5]}.json", "slow", seconds=2.5)
        await stack.sync()
        assert (await stack.problems("A23")) == []
        assert (await active(stack, skus[0]), await active(stack, skus[5])) == (1, 9)


async def test_syncs_that_are_retried_by_hand_are_one_sync_of_their_supplier(make_stack: MakeStack) -> None:
    async with make_stack(plain_feed()) as stack:
        stack.feed.set_manifest(b"")
        for _ in range(2):
            (run,) = await start_queued(stack.services, StartRequest(supplier="A23"))
            await fail_supplier_job(stack, run.job_id)
        assert await retry_failed(stack.services, "supplier-sync") == 1
        (again,) = await start_queued(stack.services, StartRequest(supplier="A23"))
        assert not again.started
        assert await stack.value("SELECT count(*) FROM jobs WHERE state = 'waiting'") == 1


async def fail_supplier_job(stack: Stack, job_id: str) -> None:
    """Claim a queued supplier job and let it fail for good, as a worker would."""
    async with stack.services.database.quick() as db:
        ((job,), _) = await ledger.claim(db, [job_id], queue="supplier-sync")
    queue = stack.services.queue
    assert queue is not None
    stage = Stage(stack.services, queue, ProgressBoard(stack.services.database))
    policy = policies(stack.settings)["supplier-sync"]
    await spend_attempt(stage, job, policy, ManifestUnreadable("empty"))


@pytest.mark.parametrize("names", [("{}.JSON",), ("{}.JSON", "{}.json"), ("{}.json", "{}.JsOn"), ("a.json", "{}.JSON")])
async def test_a_document_is_its_familys_own_whatever_case_its_extension_has(
    make_stack: MakeStack, names: tuple[str, ...]
) -> None:
    feed = plain_feed(families=1)
    sku = first_sku(feed)
    document = feed.document(sku)
    feed.remove_family(sku)
    children = {name.format(sku): document["ChildProducts"][:count] for count, name in enumerate(names, start=1)}
    for name, listed in children.items():
        feed.set_document("A23", name, document | {"ChildProducts": listed})
    speaker = min(name for name in children if name.lower() == f"{sku}.json".lower())
    async with make_stack(feed) as stack:
        (look,) = await dry_run(stack.services, StartRequest())
        assert sku in look.skus["new"]
        for skus in (None, (sku,)):
            await stack.sync("A23", skus=skus)
            assert await active(stack, sku) == len(children[speaker])
        explained = await explain(stack.settings, stack.services.database, sku, None)
        assert sorted(item.file_name for item in explained.documents) == sorted(children)


async def test_another_spelling_of_a_familys_own_document_does_not_go_ahead_of_it(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals_step, "COMMIT_FIRST_AFTER_S", 0.05)
    monkeypatch.setattr(arrivals_step, "COMMIT_EVERY_S", 0.05)
    feed = plain_feed(families=1)
    sku = first_sku(feed)
    document = feed.document(sku)
    feed.remove_family(sku)
    for name, count in ((f"{sku}.JSON", 1), (f"{sku}.json", 2)):
        feed.set_document("A23", name, document | {"ChildProducts": document["ChildProducts"][:count]})
    async with make_stack(feed) as stack:
        stack.server.faults.add(f"*/{sku}.JSON", "slow", seconds=1.5)
        await stack.sync()
        told = await stack.rows("SELECT kind, fields FROM changes WHERE entity = 'variant' AND fields <> '{images}'")
        assert told == [{"kind": "created", "fields": []}], "of the first by name, and nothing that it does not list"


async def test_skus_that_the_feed_does_not_have_are_errors_of_the_run(make_stack: MakeStack) -> None:
    feed = plain_feed(families=2)
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        await stack.sync("A23", skus=(sku, "NOPE", "A-1.json"))
        run = await stack.run("A23")
        assert (run["status"], run["families_completed"], run["families_failed"]) == ("completed_with_errors", 1, 2)
        problems = [(item["severity"], item["kind"], item["sku"]) for item in await stack.problems("A23")]
        assert problems == [("error", "sku-not-in-feed", "NOPE"), ("error", "sku-not-in-feed", "A-1.json")]
        await stack.sync()
        assert (await stack.run("A23"))["status"] == "completed"
