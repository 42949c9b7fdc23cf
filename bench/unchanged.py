"""What a sync costs when little or nothing changed: F1a, F1b, F2 and F10.

For F1 and F10 the tables are filled by SQL, as a sync would have left them: 100,000 documents applied under the hashes
that the feed's manifest gives, each with a product and a variant. So the manifest's part is measured, not an hour of
fetching. The 10,000 of F2 are synced for real, so that what is written afterwards is what changed and nothing else.

    seed ─▶ a sync (keeps the manifest) ─▶ 304 ─▶ sent whole ─▶ one family changed, several times
    cold sync of 10,000 ─▶ 1 % changed
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.jobs.definitions import QUEUES, SUPPLIER_SYNC
from app.sync.operating.discovery import discover
from app.sync.operating.start import StartRequest, start_queued
from app.sync.supplier.manifest_step import get_manifest
from bench.ground import Feed, Ground, Servers, execute, fresh_ground, serving_feed, until, workers
from bench.report import Figure, Section, Table
from bench.sync import Measured, measure_sync, wait_for_end

ENTRIES = 100_000
ENTRIES_OF_F2 = 10_000
SHARE_OF_F2 = 100
FRESHNESS_TRIES = 10
CHANGE_WITHIN_S = 60.0
ROUNDS = 3

SEED = (
    """
    INSERT INTO products (supplier_id, sku, status, content, content_digest, applied_version)
    SELECT supplier_id, family_sku, 'active', '{"name": {"en": "Seeded"}}', sha256(family_sku::bytea), version
    FROM documents""",
    """
    INSERT INTO variants (supplier_id, sku, product_id, status, position, is_primary, content, content_digest,
        prices_digest, imprint_digest, pictures_digest)
    SELECT supplier_id, sku || '-001', id, 'active', 0, true, '{}', '\\x00', '\\x00', '\\x00', '\\x00' FROM products""",
    """
    INSERT INTO listings (supplier_id, variant_sku, document_id)
    SELECT supplier_id, family_sku || '-001', id FROM documents""",
)
DOCUMENTS = """
    INSERT INTO documents (supplier_id, file_name, url, seen_hash, applied_hash, fetched_hash, version, applied_version,
        sku, family_sku, has_children)
    SELECT (SELECT id FROM suppliers), name, url, hash, hash, hash, nextval('document_versions'),
        currval('document_versions'), stem, stem, true
    FROM (SELECT name, url, hash, left(name, -5) AS stem
          FROM unnest($1::text[], $2::text[], $3::text[]) AS u(name, url, hash)) AS said"""
TABLES = ("documents", "products", "variants", "prices", "imprint_positions", "changes")


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `unchanged`."""
    entries, share, rounds = (500, 5, 1) if quick else (ENTRIES, SHARE_OF_F2, ROUNDS)
    with serving_feed(*_feed_options(entries)) as feed:
        steps = asyncio.run(_large(servers, feed, rounds, tries=2 if quick else FRESHNESS_TRIES))
    with serving_feed(*_feed_options(100 if quick else ENTRIES_OF_F2)) as feed:
        changed = asyncio.run(_share_changed(servers, feed, share))
    return _section(entries, share, steps[0], steps[1], steps[2], changed)


def _feed_options(entries: int) -> list[str]:
    return [
        "--suppliers",
        "1",
        "--families",
        str(entries),
        "--variants",
        "1",
        "--pictures",
        "0",
        "--small",
        "--uniform",
    ]


async def _large(
    servers: Servers, feed: Feed, rounds: int, *, tries: int
) -> tuple[list[Measured], list[Measured], list[float]]:
    async with fresh_ground(servers, feed.base_url) as ground:
        await _seed(ground)
        await measure_sync(ground, feed, [SUPPLIER_SYNC])
        unchanged = [await measure_sync(ground, feed, [SUPPLIER_SYNC]) for _ in range(rounds)]
        feed.set_habits(validators=False)
        whole = [await measure_sync(ground, feed, [SUPPLIER_SYNC]) for _ in range(rounds)]
        feed.set_habits(validators=True)
        return unchanged, whole, await _freshness(ground, feed, tries)


async def _seed(ground: Ground) -> None:
    await discover(ground.services)
    manifest = await get_manifest(ground.services)
    (entries,) = [of_supplier.values() for of_supplier in manifest.data.entries.values()]
    columns = [
        [entry.file_name for entry in entries],
        [entry.url for entry in entries],
        [entry.hash for entry in entries],
    ]
    await ground.rows(DOCUMENTS, *columns)
    await execute(ground.database_url, *SEED, "VACUUM ANALYZE", "CHECKPOINT")


async def _freshness(ground: Ground, feed: Feed, tries: int) -> list[float]:
    """One family changed: from startSync to the change under its number, which is when `/changes` shows it."""
    skus = [
        row["family_sku"] for row in await ground.rows("SELECT family_sku FROM documents ORDER BY id LIMIT $1", tries)
    ]
    waits = []
    async with workers(ground, QUEUES):
        for sku in skus:
            feed.change("change_price", sku)
            (before,) = await ground.rows("SELECT COALESCE(max(seq), 0) AS head FROM changes")
            started = time.perf_counter()
            await start_queued(ground.services, StartRequest())
            await _until_moved(ground, before["head"])
            waits.append(time.perf_counter() - started)
            await wait_for_end(ground)
    return waits


async def _until_moved(ground: Ground, head: int) -> None:
    async def moved() -> bool:
        return bool(await ground.rows("SELECT 1 FROM changes WHERE seq > $1 LIMIT 1", head))

    async with asyncio.timeout(CHANGE_WITHIN_S):
        await until(moved, look_every_s=0.01)


@dataclass(frozen=True)
class ShareChanged:
    """A sync after a share of the documents changed their prices."""

    cold: Measured
    sync: Measured
    written: dict[str, int]
    """Rows by table."""
    fields: Counter[str]
    """What the change feed names, and how often."""
    exact: bool
    """It names the families that changed and no other."""


async def _share_changed(servers: Servers, feed: Feed, share: int) -> ShareChanged:
    async with fresh_ground(servers, feed.base_url) as ground:
        await discover(ground.services)
        cold = await measure_sync(ground, feed, QUEUES)
        rows = await ground.rows("SELECT family_sku FROM documents ORDER BY md5(file_name) LIMIT $1", share)
        changed = {row["family_sku"] for row in rows}
        for sku in changed:
            feed.change("change_price", sku)
        before = await _written(ground)
        measured = await measure_sync(ground, feed, QUEUES)
        after = await _written(ground)
        told = await ground.rows("SELECT product_sku, fields FROM changes WHERE run_id = $1", measured.run["id"])
        return ShareChanged(
            cold,
            measured,
            {table: after[table] - before[table] for table in TABLES},
            Counter(name for row in told for name in row["fields"]),
            {row["product_sku"] for row in told} == changed,
        )


async def _written(ground: Ground) -> Counter[str]:
    """Rows written so far, as PostgreSQL counts them."""
    await asyncio.sleep(1.5)  # it counts a second late
    rows = await ground.rows("SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS written FROM pg_stat_user_tables")
    return Counter({row["relname"]: row["written"] for row in rows})


def _claim_to_end_s(run: dict[str, Any]) -> float:
    return float(run["ended_at"] - run["claimed_at"])


def _section(
    entries: int,
    share: int,
    not_modified: list[Measured],
    whole: list[Measured],
    freshness_s: list[float],
    changed: ShareChanged,
) -> Section:
    rows = [
        _row(name, measured) for name, measured in (("manifest a 304", not_modified), ("manifest sent whole", whole))
    ]
    head = (
        "",
        "claim to end, s",
        "startSync to end, s",
        "origin requests",
        "documents",
        "jobs",
        "supplier worker, peak MB",
    )
    changed_head = (
        "documents asked for",
        "families written",
        *(f"rows written, {table}" for table in TABLES),
        "fields named in the change feed",
        "s",
    )
    changed_row = [
        str(changed.sync.requests.get("document", 0)),
        str(changed.sync.run["families_completed"]),
        *(str(changed.written[table]) for table in TABLES),
        ", ".join(f"{name} ({number})" for name, number in sorted(changed.fields.items())),
        f"{changed.sync.wall_s:.1f}",
    ]
    return Section(
        "Unchanged, and nearly unchanged",
        f"One supplier of {entries:,} entries, whose documents, products and variants were put into the tables by SQL "
        f"as a sync leaves them; {len(whole)} syncs each, each with a new supplier worker; medians.",
        [
            Table(head, rows),
            Table(changed_head, [changed_row], f"{share} documents of {_entries_of(changed.sync):,} changed"),
            _freshness_table(entries, freshness_s),
        ],
        _figures(share, not_modified, whole, freshness_s, changed),
        [
            f"The cold sync of {_entries_of(changed.cold):,} small documents before it: {changed.cold.wall_s:.0f} s.",
            "A change's row is written twice: with the family, and once more when it is numbered.",
        ],
    )


def _entries_of(measured: Measured) -> int:
    return int(measured.run["manifest_entries"])


def _row(name: str, measured: Sequence[Measured]) -> list[str]:
    return [
        name,
        f"{statistics.median(_claim_to_end_s(one.run) for one in measured):.2f}",
        f"{statistics.median(one.wall_s for one in measured):.2f}",
        str(sum(measured[-1].requests.values())),
        str(measured[-1].requests.get("document", 0)),
        str(1 + measured[-1].run["families_total"] + measured[-1].run["images_total"]),
        f"{max(one.costs[SUPPLIER_SYNC].peak_mb for one in measured):.0f}",
    ]


def _freshness_table(entries: int, waits: Sequence[float]) -> Table:
    row = [str(len(waits)), f"{statistics.median(waits):.2f}", f"{max(waits):.2f}"]
    return Table(
        ("syncs", "median, s", "most, s"), [row], f"One family of {entries:,} changed: startSync to the change"
    )


def _figures(
    share: int, not_modified: list[Measured], whole: list[Measured], freshness_s: list[float], changed: ShareChanged
) -> list[Figure]:
    first = statistics.median(_claim_to_end_s(one.run) for one in not_modified)
    second = statistics.median(_claim_to_end_s(one.run) for one in whole)
    memory = max(one.costs[SUPPLIER_SYNC].peak_mb for one in whole)
    asked, asked_whole = sum(not_modified[-1].requests.values()), sum(whole[-1].requests.values())
    documents, families = changed.sync.requests.get("document", 0), changed.sync.run["families_completed"]
    exact = changed.exact and set(changed.fields) == {"prices"}
    worst = max(freshness_s)
    return [
        Figure(
            "F1a",
            "unchanged, 304: requests; claim to end",
            f"{asked}; {first:.2f} s",
            "1; <= 1 s",
            asked == 1 and first <= 1,
        ),
        Figure(
            "F1b",
            "unchanged, sent whole: requests; claim to end; peak memory",
            f"{asked_whole}; {second:.2f} s; {memory:.0f} MB",
            "1; <= 3 s; <= 300 MB",
            asked_whole == 1 and second <= 3 and memory <= 300,
        ),
        Figure(
            "F2",
            f"{share} prices changed: documents fetched; families written; the change feed names",
            f"{documents}; {families}; {'these alone' if exact else 'others, too'}",
            f"{share}; {share}; these alone",
            documents == families == share and exact,
        ),
        Figure("F10", "one family changed, to the change feed (most)", f"{worst:.2f} s", "p95 <= 5 s", worst <= 5),
    ]
