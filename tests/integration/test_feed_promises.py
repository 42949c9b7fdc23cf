"""Fetch and write only what changed, remove nothing on trust: each promise by what the tables and the origin say."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy import text

from app.jobs.definitions import QUEUES
from app.samplefeed import FeedSpec, SampleFeed, SampleFeedServer
from app.samplefeed.spec import SupplierSpec
from app.settings import Settings
from app.sync.operating.dry_run import dry_run
from app.sync.operating.start import StartRequest
from app.sync.running.direct import sync_direct
from app.sync.services import open_services
from tests.conftest import MakeStack
from tests.support.stack import Servers, Stack
from tests.support.truth import assert_catalogue_equals_feed, assert_store_equals_feed
from tests.support.worker_stack import until, worker_stack

CATALOGUE = (
    "products", "variants", "prices", "imprint_positions", "listings", "categories",
    "addresses", "media", "shown_pictures", "changes",
)  # fmt: skip
LEDGER = ("runs", "jobs", "problems", "documents", "document_bodies", "manifests", "suppliers", "idempotency_keys")


def plain_feed(families: int, suppliers: int = 1) -> SampleFeed:
    return SampleFeed(FeedSpec.small(count=suppliers, families=families, variants=2, oddities=False))


def skus_of(feed: SampleFeed, supplier: str = "A23") -> list[str]:
    return [entry.file_name.removesuffix(".json") for entry in feed.entries(supplier)]


@asynccontextmanager
async def watched(stack: Stack, *tables: str) -> AsyncIterator[Counter[str]]:
    """What PostgreSQL's own triggers see written to these tables within the block."""
    written: Counter[str] = Counter()
    async with stack.services.database.begin() as db:
        await db.execute(text("CREATE TABLE written (what text NOT NULL)"))
        await db.execute(
            text("""
            CREATE FUNCTION note_written() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO written VALUES (TG_TABLE_NAME || ' ' || lower(TG_OP)); RETURN NULL; END $$""")
        )
        for table in tables:
            await db.execute(
                text(f"""
                CREATE TRIGGER note_written AFTER INSERT OR UPDATE OR DELETE ON {table}
                FOR EACH ROW EXECUTE FUNCTION note_written()""")
            )
    yield written
    for row in await stack.rows("SELECT what, count(*) AS number FROM written GROUP BY 1"):
        written[row["what"]] = row["number"]


async def active(stack: Stack) -> set[str]:
    return {row["sku"] for row in await stack.rows("SELECT sku FROM products WHERE status = 'active'")}


@pytest.mark.parametrize("validators", [True, False], ids=["a 304", "sent whole"])
async def test_an_unchanged_feed_costs_the_manifest_and_not_one_row(make_stack: MakeStack, validators: bool) -> None:
    async with make_stack(plain_feed(6)) as stack:
        stack.server.habits.validators = validators
        await stack.sync()
        jobs = await stack.value("SELECT count(*) FROM jobs WHERE queue <> 'supplier-sync'")
        stack.server.log.reset()
        async with watched(stack, *CATALOGUE) as written:
            await stack.sync()
        assert written == {}
        assert dict(stack.server.log.counts) == {"manifest": 1}
        assert await stack.value("SELECT count(*) FROM jobs WHERE queue <> 'supplier-sync'") == jobs
        assert (await stack.run("A23"))["status"] == "completed"


async def test_one_changed_document_of_many_is_fetched_and_written_alone(make_stack: MakeStack) -> None:
    feed = plain_feed(30)
    async with make_stack(feed) as stack:
        await stack.sync()
        (changed,) = skus_of(feed)[21:22]
        feed.change_price(changed)
        stack.server.log.reset()
        async with watched(stack, "products", "variants", "prices", "addresses", "media", "changes") as written:
            await stack.sync()
        assert stack.server.log.paths("document") == [f"{feed.base_path}/A23/{changed}.json"]
        assert stack.server.log.counts["picture"] == 0
        assert written.keys() & {"addresses update", "media update", "variants insert", "products insert"} == set()
        assert written["changes insert"] == 2
        told = await stack.rows("SELECT product_sku, fields FROM changes ORDER BY id DESC LIMIT 2")
        assert [(row["product_sku"], row["fields"]) for row in told] == [(changed, ["prices"])] * 2


async def test_a_dry_run_says_what_comes_and_writes_nothing(make_stack: MakeStack) -> None:
    feed = plain_feed(12, suppliers=2)
    async with make_stack(feed) as stack:
        await stack.sync()
        skus = skus_of(feed)
        feed.change_price(skus[0])
        feed.rehash(skus[1])
        feed.remove_family(skus[2])
        new = feed.add_family("A23")
        queue = stack.services.queue
        assert queue is not None
        objects = [found.key async for found in stack.services.store.list_objects()]
        messages = [await queue.length(name) for name in QUEUES]
        stack.server.log.reset()
        async with watched(stack, *CATALOGUE, *LEDGER) as written:
            results = {result.supplier: result for result in await dry_run(stack.services, StartRequest())}
        assert written == {}
        assert dict(stack.server.log.counts) == {"manifest": 1}
        assert [await queue.length(name) for name in QUEUES] == messages
        assert [found.key async for found in stack.services.store.list_objects()] == objects

        said = results["A23"]
        assert said.manifest == {"entries": 12, "new": 1, "changed": 2, "unchanged": 9, "removed": 1, "invalid": 0}
        assert said.skus == {"new": [new], "changed": skus[:2], "removed": [skus[2]]}
        await stack.sync()
        for supplier, result in results.items():
            run = await stack.run(supplier)
            assert {name: run[f"manifest_{name}"] for name in result.manifest} == result.manifest


async def test_a_manifest_cut_to_a_fifth_removes_nothing(make_stack: MakeStack) -> None:
    feed = plain_feed(15, suppliers=2)
    async with make_stack(feed) as stack:
        await stack.sync()
        before = await active(stack)
        lines = feed.manifest().splitlines(keepends=True)
        feed.set_manifest(b"".join(lines[: len(lines) // 5]))
        await stack.sync()
        for supplier in ("A23", "A360"):
            run = await stack.run(supplier)
            assert run["status"] == "completed_with_errors"
            assert run["guard"] is not None
        assert await active(stack) == before


@pytest.mark.parametrize(
    "body", [b"", b"<!DOCTYPE html><html><body>Please log in</body></html>", b"\x00\x01\x02" * 2000, b"no feed here\n"]
)
async def test_what_is_no_manifest_fails_the_run_and_cannot_be_confirmed(make_stack: MakeStack, body: bytes) -> None:
    feed = plain_feed(7)
    async with make_stack(feed) as stack:
        await stack.sync()
        before = await active(stack)
        feed.set_manifest(body)
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["guard"]) == ("failed", None)
        assert run["error"]
        assert await active(stack) == before
        feed.set_manifest(None)
        stack.server.log.reset()
        await stack.sync()
        assert (await stack.run("A23"))["status"] == "completed"
        assert dict(stack.server.log.counts) == {"manifest": 1}


async def test_all_families_renamed_are_taken_and_none_of_the_old_ones_goes(make_stack: MakeStack) -> None:
    feed = plain_feed(8)
    async with make_stack(feed) as stack:
        await stack.sync()
        old = await active(stack)
        for sku in skus_of(feed):
            feed.remove_family(sku)
        new = {feed.add_family("A23") for _ in range(8)}
        await stack.sync()
        run = await stack.run("A23")
        assert run["status"] == "completed_with_errors"
        assert (run["guard"]["wouldRemove"], run["guard"]["active"]) == (8, 8)
        assert await active(stack) == old | new


async def test_a_profile_on_another_host_and_path_makes_nothing_new(make_stack: MakeStack) -> None:
    """A document is known by supplier and file name."""
    spec = FeedSpec.small(count=1, families=6, variants=2, oddities=False)
    async with make_stack(SampleFeed(spec)) as stack:
        await stack.sync()
        changes = await stack.value("SELECT count(*) FROM changes")
        moved = SampleFeed(replace(spec, profile_guid="11111111-2222-3333-4444-555555555555"))
        async with SampleFeedServer(moved) as server:
            moved.serve_at(server.origin.replace("127.0.0.1", "localhost"), stack.feed.pictures_origin)
            settings = Settings.model_validate(
                {
                    **stack.settings.model_dump(exclude_unset=True),
                    "promidata_base_url": moved.base_url,
                    "document_hosts": "localhost,127.0.0.1",
                    "allow_private_addresses": "127.0.0.0/8,::1/128",
                }
            )
            async with open_services(settings) as services:
                await sync_direct(services, StartRequest())
            run = await stack.run("A23")
            assert (run["status"], run["manifest_unchanged"], run["manifest_new"]) == ("completed", 6, 0)
            assert server.log.counts["document"] == 0
        assert await stack.value("SELECT count(*) FROM changes") == changes
        assert len(await active(stack)) == 6


async def test_most_documents_failing_fails_the_run_and_loses_nothing(make_stack: MakeStack) -> None:
    """A12: 60 % of them 500, the commonest reason is told."""
    feed = plain_feed(10)
    async with make_stack(feed) as stack:
        await stack.sync()
        for sku in skus_of(feed):
            feed.change_price(sku)
        for sku in skus_of(feed)[:6]:
            stack.server.faults.add(f"*/{sku}.json", "status", status=500)
        await stack.sync()
        run = await stack.run("A23")
        assert run["status"] == "failed"
        assert "500" in run["error"]
        assert (run["documents_failed"], run["families_completed"]) == (6, 4)
        assert len(await active(stack)) == 10


async def test_a_login_page_in_place_of_every_document_fails_the_run_and_loses_nothing(make_stack: MakeStack) -> None:
    """A12."""
    feed = plain_feed(7)
    async with make_stack(feed) as stack:
        await stack.sync()
        for sku in skus_of(feed):
            feed.rehash(sku)
        stack.server.faults.add("document", "html")
        await stack.sync()
        run = await stack.run("A23")
        assert run["status"] == "failed"
        assert run["error"]
        assert len(await active(stack)) == 7
        stack.server.faults.clear()
        await stack.sync()
        assert (await stack.run("A23"))["status"] == "completed"


@pytest.mark.chaos
async def test_a_run_killed_after_half_of_its_documents_fetches_only_the_others(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And takes a newer manifest's word over a kept document."""
    feed = SampleFeed(
        FeedSpec(suppliers=(SupplierSpec("A23", 40),), variants=2, small_documents=True, small_pictures=True,
                 oddities=False)
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("half")
    async with worker_stack(servers, folder, feed, concurrency_documents=2, lease_s=2) as workers:
        log = workers.stack.server.log
        workers.stack.server.habits.latency_s = 0.15
        workers.spawn_all()
        await workers.start()
        stored = "SELECT count(*) FROM document_bodies"
        await until(lambda: workers.stack.rows(f"SELECT 1 WHERE ({stored}) >= 20"))
        (supplier,) = workers.of("supplier-sync")
        supplier.kill()
        kept = await workers.stack.value(stored)
        asked = len(log.paths("document"))
        changed = (await workers.stack.rows("SELECT file_name FROM documents WHERE body_sha256 IS NOT NULL LIMIT 1"))[0]
        feed.change_price(changed["file_name"].removesuffix(".json"))
        workers.replace_dead()
        await workers.over()
        again = log.paths("document")[asked:]
        assert len(again) == len(set(again)) == 40 - kept + 1
        assert f"{feed.base_path}/A23/{changed['file_name']}" in again
        assert (await workers.stack.run("A23"))["status"] == "completed"
        await assert_catalogue_equals_feed(workers.stack)
        await assert_store_equals_feed(workers.stack)
