"""Families that are ready together go in one commit, and each is still fenced, refused, doubted and counted alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from app.jobs.definitions import PRODUCT_FAMILY
from app.persistence import catalogue, documents, ledger, media, pictures
from app.persistence.ledger import ClaimedJob
from app.persistence.media import StoredPicture
from app.persistence.sessions import Session
from app.samplefeed import SampleFeed
from app.sync.family import stage
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import active, plain_feed
from tests.support.image_jobs import HeldRun
from tests.support.stack import Stack
from tests.support.worker_stack import until

BATCH = 16
WRITTEN = """
    SELECT count(*) AS products, count(DISTINCT CAST(p.xmin AS text)) AS commits FROM products p"""
JOBS = "SELECT state, attempts, result FROM jobs WHERE queue = 'product-family' AND args ->> 'family_sku' = :sku"
HELD_UP = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

Trouble = Callable[[Stack, str], Awaitable[None]]


def sku_of(job: ClaimedJob) -> str:
    return str(job.args["family_sku"])


async def execute(stack: Stack, sql: str, **values: Any) -> None:
    async with stack.services.database.begin() as db:
        await db.execute(text(sql), values)


async def refuse_in_postgresql(stack: Stack, sku: str) -> None:
    await execute(
        stack,
        f"""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.sku = '{sku}' THEN RAISE 'not this one'; END IF; RETURN NEW; END $$""",
    )
    await execute(stack, "CREATE TRIGGER refuse BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION refuse()")


async def spoil_its_body(stack: Stack, sku: str) -> None:
    await execute(
        stack,
        "UPDATE document_bodies SET body = 'no zstd' WHERE document_id = (SELECT id FROM documents WHERE sku = :sku)",
        sku=sku,
    )


async def take_its_claim(stack: Stack, sku: str) -> None:
    await execute(stack, "UPDATE jobs SET claim = gen_random_uuid() WHERE args ->> 'family_sku' = :sku", sku=sku)


async def move_its_document_on(stack: Stack, sku: str) -> None:
    await execute(
        stack,
        """WITH moved AS (UPDATE documents SET version = nextval('document_versions') WHERE sku = :sku RETURNING *)
        UPDATE document_bodies b SET version = moved.version FROM moved WHERE b.document_id = moved.id""",
        sku=sku,
    )


@pytest.mark.parametrize(
    ("trouble", "state", "attempts", "result"),
    [
        (refuse_in_postgresql, "delayed", 1, None),
        (spoil_its_body, "delayed", 1, None),
        (take_its_claim, "active", 0, None),
        (move_its_document_on, "completed", 0, {"superseded": True}),
    ],
)
async def test_one_bad_family_of_sixteen_costs_its_neighbours_nothing(
    make_stack: MakeStack, trouble: Trouble, state: str, attempts: int, result: Any
) -> None:
    async with make_stack(plain_feed(families=BATCH, variants=1)) as stack:
        run = HeldRun(stack)
        jobs = await run.begin()
        bad = sku_of(jobs[7])
        await trouble(stack, bad)
        await run.work_together(jobs)
        (job,) = await stack.rows(JOBS, sku=bad)
        assert (job["state"], job["attempts"], job["result"]) == (state, attempts, result)
        assert await stack.value("SELECT count(*) FROM products WHERE sku = :sku", sku=bad) == 0
        neighbours = await stack.rows("SELECT * FROM jobs WHERE queue = 'product-family' AND id <> :id", id=jobs[7].id)
        assert [(job["state"], job["attempts"]) for job in neighbours] == [("completed", 0)] * (BATCH - 1)
        (written,) = await stack.rows(WRITTEN)
        assert written["products"] == BATCH - 1
        assert (written["commits"] == 1) == (trouble is not refuse_in_postgresql), "they share a commit until one fails"
        counted = await stack.run("A23")
        assert counted["families_completed"] == BATCH - 1 + (state == "completed")
        assert counted["variants_created"] == BATCH - 1


async def test_a_document_that_moves_on_while_its_batch_waits_supersedes_its_family_alone(
    make_stack: MakeStack,
) -> None:
    async with make_stack(plain_feed(families=4, variants=1)) as stack:
        run = HeldRun(stack)
        jobs = await run.begin()
        late = sku_of(jobs[2])
        async with stack.services.database.begin() as db:
            await db.execute(
                text("UPDATE documents SET version = nextval('document_versions') WHERE sku = :sku"), {"sku": late}
            )
            working = asyncio.create_task(run.work_together(jobs))
            await until(lambda: stack.rows(HELD_UP))
        await working
        assert await stack.rows(JOBS, sku=late) == [
            {"state": "completed", "attempts": 0, "result": {"superseded": True}}
        ]
        (written,) = await stack.rows(WRITTEN)
        assert (written["products"], written["commits"]) == (3, 1)


async def test_a_doubted_family_of_a_batch_is_put_off_alone(make_stack: MakeStack) -> None:
    feed = plain_feed(families=4, variants=6)
    async with make_stack(feed) as stack:
        await stack.sync()
        skus = sorted(entry.file_name.removesuffix(".json") for entry in feed.entries("A23"))
        feed.keep_variants(skus[1], 1)
        for sku in (skus[0], skus[2]):
            feed.edit(sku, lambda document: document["ChildProducts"].pop())
        run = HeldRun(stack)
        await run.work_together(await run.begin())
        assert [await active(stack, sku) for sku in skus] == [5, 6, 5, 6]
        results = {
            sku: (await stack.rows(JOBS + " ORDER BY created_at DESC LIMIT 1", sku=sku))[0]["result"]
            for sku in skus[:3]
        }
        assert ["suspect" in results[sku] for sku in skus[:3]] == [False, True, False]
        assert [problem["sku"] for problem in await stack.problems("A23")] == [skus[1]]
        assert (await stack.run("A23"))["families_completed"] == 3


def shuffled(feed: SampleFeed, skus: list[str]) -> None:
    """The first family's last variant goes to the second, the second's first one to the third, and two list another."""
    documents = {sku: feed.document(sku)["ChildProducts"] for sku in skus}
    moved, other, claimed = documents[skus[0]][-1], documents[skus[1]][0], documents[skus[3]][1]
    feed.edit(skus[0], lambda document: document["ChildProducts"].pop())
    feed.edit(skus[1], lambda document: document["ChildProducts"].append(moved))
    feed.edit(skus[1], lambda document: document["ChildProducts"].pop(0))
    feed.edit(skus[2], lambda document: document["ChildProducts"].append(other))
    feed.edit(skus[2], lambda document: document["ChildProducts"].append(claimed))


OWNERS = """
    SELECT v.sku, p.sku AS family, v.status FROM variants v JOIN products p ON p.id = v.product_id ORDER BY v.sku"""


async def test_families_that_share_variants_come_to_the_same_in_a_batch_as_one_after_the_other(
    make_stack: MakeStack,
) -> None:
    owners = []
    for together in (False, True):
        feed = plain_feed(families=4, variants=3)
        skus = sorted(entry.file_name.removesuffix(".json") for entry in feed.entries("A23"))
        async with make_stack(feed) as stack:
            await stack.sync()
            shuffled(feed, skus)
            run = HeldRun(stack)
            jobs = await run.begin()
            await (run.work_together(jobs) if together else run.work(jobs))
            while more := await run.claim(PRODUCT_FAMILY):
                await run.work(more)
            owners.append(await stack.rows(OWNERS))
            changes = await stack.rows("SELECT sku, fields FROM changes WHERE 'productSku' = ANY(fields) ORDER BY sku")
            assert len(changes) == 2
    assert owners[0] == owners[1]
    assert {row["status"] for row in owners[1]} == {"active"}


async def test_two_jobs_of_one_family_in_a_batch_are_written_one_after_the_other(make_stack: MakeStack) -> None:
    async with make_stack(plain_feed(families=2, variants=2)) as stack:
        run = HeldRun(stack)
        jobs = await run.begin()
        await execute(
            stack,
            """WITH added AS (
                INSERT INTO jobs (id, queue, run_id, supplier_id, parent_id, key, args, direct)
                SELECT id || '-again', queue, run_id, supplier_id, parent_id, key || '+', args, direct FROM jobs
                WHERE queue = 'product-family' RETURNING 1)
            UPDATE runs SET open_jobs = open_jobs + (SELECT count(*) FROM added)""",
        )
        again = await run.claim(PRODUCT_FAMILY)
        await run.work_together([*jobs, *again])
        counted = await stack.run("A23")
        assert (counted["variants_created"], counted["variants_unchanged"], counted["families_completed"]) == (4, 0, 4)
        assert counted["documents_unchanged"] == 0, "the first of them brought it in"
        assert await stack.value("SELECT count(*) FROM changes WHERE kind = 'created'") == 6


async def test_a_batch_of_two_suppliers_is_counted_for_each_run(make_stack: MakeStack) -> None:
    feed = plain_feed(count=2, families=3, variants=2)
    codes = sorted(supplier.code for supplier in feed.spec.suppliers)
    async with make_stack(feed) as stack:
        first, second = HeldRun(stack), HeldRun(stack)
        jobs = [*await first.begin(codes[0]), *await second.begin(codes[1])]
        await first.work_together(jobs)
        for code in codes:
            counted = await stack.run(code)
            assert (counted["families_completed"], counted["variants_created"]) == (3, 6)
            assert counted["images_total"] == counted["open_jobs"] > 0
        (written,) = await stack.rows(WRITTEN)
        assert (written["products"], written["commits"]) == (6, 1)


def _list(children: list[Any], document: dict[str, Any]) -> None:
    document["ChildProducts"] = children


async def test_batches_of_two_processes_over_the_same_pictures_and_variants_never_deadlock(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=24, variants=2)
    skus = sorted(entry.file_name.removesuffix(".json") for entry in feed.entries("A23"))
    first, second = ([feed.document(sku)["ChildProducts"][place] for sku in skus] for place in (0, 1))
    for number, sku in enumerate(skus):
        other = second[number] | {"ProductDetails": first[-number]["ProductDetails"]}
        feed.edit(sku, partial(_list, [first[number], other, second[(number + 7) % len(skus)]]))
    async with make_stack(feed) as stack:
        run, other = HeldRun(stack), HeldRun(stack)
        jobs = await run.begin()
        await execute(stack, "SELECT pg_stat_force_next_flush()")
        async with asyncio.TaskGroup() as group:
            group.create_task(run.work_together(jobs[::2]))
            group.create_task(other.work_together(jobs[:0:-2]))
        counted = await stack.run("A23")
        assert counted["families_completed"] == 24
        assert await stack.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


LARGE = """
WITH s AS (SELECT id FROM suppliers LIMIT 1),
documents_ AS (
    INSERT INTO documents (supplier_id, file_name, url, sku, family_sku, has_children, version)
    SELECT s.id, n || '.json', 'http://x', 'P' || n, 'P' || n, true, n FROM s, generate_series(1, 3000) n RETURNING *),
bodies AS (
    INSERT INTO document_bodies (document_id, version, size_bytes, body) SELECT id, version, 1, '' FROM documents_),
products_ AS (
    INSERT INTO products (supplier_id, sku, status, content, content_digest, applied_version)
    SELECT supplier_id, sku, 'active', jsonb_build_object('name', repeat('x', 1500)), '', 1
    FROM documents_ RETURNING *),
variants_ AS (
    INSERT INTO variants (supplier_id, sku, product_id, status, position, is_primary, content, content_digest,
        prices_digest, imprint_digest, pictures_digest, generation)
    SELECT supplier_id, sku, id, 'active', 0, true, content, '', '', '', '', 1 FROM products_ RETURNING *)
INSERT INTO listings (supplier_id, variant_sku, document_id) SELECT supplier_id, sku, id FROM documents_"""


NO_STATISTICS = """
DO $$ DECLARE name regclass; BEGIN
    FOR name IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', name);
    END LOOP;
END $$"""
"""Else they may be taken on a busy machine, and in the middle of what is written below: of tables with a row each."""

LARGE_TOO = """
WITH run AS (
    INSERT INTO runs (id, supplier_id, mode, trigger, status, supplier_job_id)
    SELECT gen_random_uuid(), id, 'queued', 'cli', 'running', 'S' FROM suppliers LIMIT 1 RETURNING *),
jobs_ AS (
    INSERT INTO jobs (id, queue, run_id, supplier_id, key, args)
    SELECT 'J' || n, 'image-upload', id, supplier_id, n, '{}' FROM run, generate_series(1, 3000) n),
addresses_ AS (
    INSERT INTO addresses (url_sha256, url)
    SELECT sha256(convert_to(CAST(id AS text), 'UTF8')), 'http://x/' || id FROM variants
    RETURNING *),
media_ AS (
    INSERT INTO media (sha256, key, content_type, width, height, size_bytes)
    SELECT url_sha256, url, 'image/png', 1, 1, 1 FROM addresses_)
INSERT INTO shown_pictures (variant_id, generation, position, role, address_id)
SELECT id, 1, 0, 'primary', row_number() OVER (ORDER BY id) FROM variants"""


class Explaining:
    """Explains each statement of a session, as it is carried out, before it is carried out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        fetch = Session.fetch

        async def explained_first(session: Session, sql: str, *values: Any, **options: Any) -> Any:
            await session.execute("SAVEPOINT undone")
            ((plan,),) = await fetch(session, f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *values)
            await session.execute("ROLLBACK TO undone")
            self._note(plan[0]["Plan"])
            return await fetch(session, sql, *values, **options)

        monkeypatch.setattr(Session, "fetch", explained_first)

    def _note(self, node: dict[str, Any]) -> None:
        scanned = node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
        self.rows.append(scanned)
        for inner in node.get("Plans", []):
            self._note(inner)


async def claim_and_end(db: Any, ids: Sequence[str]) -> None:
    claimed, _ = await ledger.claim(db, ids, queue="image-upload")
    assert len(claimed) == len(ids)
    await ledger.write_progress(db, [(job, "downloading", 10) for job in claimed])
    assert await ledger.complete(db, [(job, None) for job in claimed]) == set(ids)


async def arrive(db: Any, arrived: Sequence[StoredPicture]) -> None:
    await media.known_media(db, [picture.sha256 for picture in arrived])
    recorded = await media.record_stored(db, arrived)
    assert recorded.led_to.keys() == {picture.address_id for picture in arrived}
    showing = await pictures.lock_showing(db, list(recorded.led_to))
    shown = await pictures.show_settled(db, sorted(showing), dict.fromkeys(recorded.led_to))
    assert len(shown) == len(arrived)
    await pictures.touch_products_showing(db, shown)


async def test_what_a_batch_reads_does_not_grow_with_the_catalogue_also_without_statistics(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_stack(plain_feed(families=1, variants=1)) as stack:
        await execute(stack, NO_STATISTICS)
        await execute(stack, LARGE)
        supplier = await stack.value("SELECT id FROM suppliers LIMIT 1")
        named = [(supplier, f"P{n}") for n in range(1, 11)]
        products = [row["id"] for row in await stack.rows("SELECT id FROM products ORDER BY id LIMIT 10")]
        variants = [row["id"] for row in await stack.rows("SELECT id FROM variants ORDER BY id LIMIT 10")]
        await execute(stack, LARGE_TOO)
        arrived = [
            StoredPicture(row["id"], bytes([row["id"]]) * 32, f"{row['id']}.png", "image/png", 1, 1, 1, None, None)
            for row in await stack.rows("SELECT id FROM addresses ORDER BY id LIMIT 10")
        ]
        asked: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "documents": lambda db: documents.documents_of_families(db, named),
            "versions": lambda db: documents.lock_versions(db, products),
            "products": lambda db: catalogue.lock_products(db, named),
            "variants": lambda db: catalogue.lock_variants(db, named, products),
            "listers": lambda db: documents.other_listers(db, [(*name, "P5000") for name in named]),
            "pictures": lambda db: pictures.show_settled(db, variants),
            "jobs": lambda db: claim_and_end(db, [f"J{n}" for n in range(1, 11)]),
            "arrived": lambda db: arrive(db, arrived),
        }
        for name, ask in asked.items():
            async with stack.services.database.begin() as db:
                with monkeypatch.context() as patched:
                    explaining = Explaining(patched)
                    await ask(db)
            assert max(explaining.rows) <= 100, name


@pytest.mark.parametrize(("most_unsettled", "small", "freed"), [(0, 0, 0), (4_000_000, 0, 4), (0, 10_000_000, 4)])
async def test_a_slot_is_free_before_the_commit_as_long_as_what_waits_for_one_is_small(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch, most_unsettled: int, small: int, freed: int
) -> None:
    monkeypatch.setattr(stage, "MOST_UNSETTLED_BYTES", most_unsettled)
    async with make_stack(plain_feed(families=4, variants=1)) as stack:
        run = HeldRun(stack)
        families = stage.FamilyStage(run.surroundings)
        monkeypatch.setattr(stage, "SMALL_BYTES", small)
        free: set[str] = set()
        async with asyncio.TaskGroup() as group:
            for job in await run.begin():
                group.create_task(families.run(job, partial(free.add, job.id)))
        assert len(free) == freed
        assert (await stack.run("A23"))["families_completed"] == 4
