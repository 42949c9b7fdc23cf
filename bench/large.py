"""Lists and housekeeping on large tables: 20,000 runs, 1,000,000 jobs and changes, 100,000 products of three variants.

tables filled by SQL ─▶ the API as a process ─▶ each list five times │ housekeeping here, once over, then timed
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx

from app.sync.running.numbering import number_all
from app.sync.upkeep.queue_numbers import fold_queue_numbers
from app.sync.upkeep.retention import forget_old
from app.sync.upkeep.schedules import run_schedules
from bench.api_process import serving_api
from bench.ground import Ground, Servers, fresh_ground
from bench.report import Figure, Section, Table

TIMES = 5
LIST_MS, HOUSEKEEPING_MS = 200.0, 50.0
FILL = """
INSERT INTO suppliers (document_id, code, name) SELECT 'doc' || n, 'S' || n, 'Supplier' FROM generate_series(1, 20) n;
INSERT INTO runs (id, supplier_id, mode, trigger, status, supplier_job_id, created_at, started_at, finished_at,
    jobs_forgotten)
SELECT gen_random_uuid(), 1 + n % 20, 'queued', 'api', CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END,
    'supplier-sync-' || n, now() - n * interval '6 min', now() - n * interval '6 min', now() - n * interval '6 min',
    n > 3360
FROM generate_series(1, {runs}) n;
INSERT INTO jobs (id, queue, run_id, supplier_id, key, args, state, error, created_at, started_at, finished_at)
SELECT 'image-upload-' || r.n || '-' || k, 'image-upload', r.id, r.supplier_id, k, jsonb_build_object('address_id', k),
    CASE WHEN k % 100 = 0 THEN 'failed' ELSE 'completed' END, CASE WHEN k % 100 = 0 THEN 'answered 404' END,
    r.created_at + k * interval '1 ms', r.created_at, r.created_at
FROM (SELECT *, row_number() OVER () AS n FROM runs) r, generate_series(1, {jobs_a_run}) k;
INSERT INTO problems (run_id, severity, stage, kind, reason, url)
SELECT id, 'error', 'image', 'http-404', 'answered 404', 'http://origin/picture.jpg' FROM runs, generate_series(1, 3);
INSERT INTO products (supplier_id, sku, status, content, content_digest, applied_version, updated_at)
SELECT 1 + n % 20, 'P-' || lpad(CAST(n AS text), 7, '0'), CASE WHEN n % 100 = 0 THEN 'discontinued' ELSE 'active' END,
    jsonb_build_object('name', jsonb_build_object('nl', 'Katoenen tas ' || n, 'en', 'Cotton/linen bag ' || n),
        'description', jsonb_build_object('nl', repeat('Een mooie tas. ', 20)), 'category', 'C' || n % 500 || '/X'), '',
    1, now() - n * interval '1 min'
FROM generate_series(1, {products}) n;
INSERT INTO variants (supplier_id, sku, product_id, status, position, is_primary, content, content_digest,
    prices_digest, imprint_digest, pictures_digest, generation)
SELECT p.supplier_id, p.sku || '-' || n, p.id, 'active', n, n = 1,
    jsonb_build_object('ean', CAST(8700000000000 + p.id * 3 + n AS text)), '', '', '', '', 1
FROM products p, generate_series(1, 3) n;
INSERT INTO media (sha256, key, content_type, width, height, size_bytes)
SELECT h, left(encode(h, 'hex'), 2) || '/' || substr(encode(h, 'hex'), 3, 2) || '/' || encode(h, 'hex') || '.jpg',
    'image/jpeg', 800, 800, 30000
FROM (SELECT sha256(CAST(CAST(n AS text) AS bytea)) AS h FROM generate_series(1, {products}) n) hashed;
INSERT INTO addresses (url_sha256, url, state, media_id)
SELECT sha256, 'http://origin/' || key, 'stored', id FROM media;
INSERT INTO shown_pictures (variant_id, generation, position, role, address_id)
SELECT v.id, 1, 0, 'primary', (SELECT min(id) FROM addresses) + v.id % {products} FROM variants v;
INSERT INTO prices (variant_id, tiers) SELECT id, '[]' FROM variants;
INSERT INTO documents (supplier_id, file_name, url, family_sku)
SELECT supplier_id, sku || '.json', 'http://origin/' || sku, sku FROM products;
INSERT INTO changes (seq, kind, entity, supplier_id, sku, product_sku, old, new)
SELECT row_number() OVER (), 'updated', 'product', p.supplier_id, p.sku, p.sku, '{{"name.nl": "Tas"}}',
    '{{"name.nl": "Zak"}}'
FROM products p, generate_series(1, {changes_a_product});
UPDATE change_head SET seq = (SELECT max(seq) FROM changes);
INSERT INTO category_files (profile, url, checked_at) VALUES ('p', 'http://x', now());
INSERT INTO categories (profile, key, name) SELECT 'p', 'C' || n || '/X', '{{}}' FROM generate_series(1, 20000) n;
INSERT INTO idempotency_keys (caller, key, body_sha256) SELECT 'c', 'k' || n, '' FROM generate_series(1, 20000) n
"""
LISTS = (
    "/queues/stats",
    "/queues/image-upload/jobs",
    "/queues/image-upload/jobs?state=failed",
    "/queues/image-upload/jobs?supplier=S3",
    "/queues/image-upload/jobs?supplier=S3&state=failed",
    "/queues/image-upload/jobs?runId={run}",
    "/runs",
    "/runs?supplier=S3",
    "/runs?status=failed",
    "/runs/{run}",
    "/runs/{run}/problems",
    "/suppliers",
    "/products",
    "/products?supplier=S3",
    "/products?status=discontinued",
    "/products?category=C7",
    "/products?updatedSince=2026-11-01T00:00:00Z",
    "/products?q=tas",
    "/products?q=linen",
    "/products?q=P-00001",
    "/products?supplier=S3&q=katoenen%20tas",
    "/products?sort=updatedAt",
    "/products?expand=variants",
    "/products/P-0000100",
    "/products/P-0000100/history",
    "/products/P-0000100/explain",
    "/variants?ean=8700000000300",
    "/variants?supplier=S3",
    "/variants/P-0000100-1",
    "/changes?since=0",
    "/changes?since={middle}",
    "/categories",
)


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `large`."""
    return asyncio.run(_measure(servers, 100 if quick else 1))


async def _measure(servers: Servers, divided_by: int) -> Section:
    sizes = sizes_of(divided_by)
    async with filled(servers, sizes) as ground:
        (run,) = await ground.rows("SELECT id FROM runs ORDER BY created_at DESC OFFSET 5 LIMIT 1")
        async with serving_api(ground) as (base, _):
            middle = sizes["products"] * sizes["changes_a_product"] // 2
            lists = await _lists(base, run=run["id"], middle=middle)
        chores = await _chores(ground)
    return _section(sizes, lists, chores)


def sizes_of(divided_by: int) -> dict[str, int]:
    """How much of each there is."""
    return {"runs": 20_000 // divided_by, "products": 100_000 // divided_by, "jobs_a_run": 50, "changes_a_product": 10}


@asynccontextmanager
async def filled(servers: Servers, sizes: dict[str, int]) -> AsyncIterator[Ground]:
    """A ground with that much in its tables."""
    async with fresh_ground(servers) as ground:
        for statement in FILL.format(**sizes).split(";\n"):
            await ground.pool.execute(statement, timeout=600)
        await ground.pool.execute("VACUUM ANALYZE", timeout=600)
        yield ground


async def _lists(base: str, **places: object) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    async with httpx.AsyncClient(base_url=f"{base}/api/v1", timeout=60) as http:
        for path in LISTS:
            found[path] = [await _asked(http, path.format(**places)) for _ in range(TIMES)]
    return found


async def _asked(http: httpx.AsyncClient, path: str) -> float:
    began = time.perf_counter()
    (await http.get(path)).raise_for_status()
    return (time.perf_counter() - began) * 1000


async def _chores(ground: Ground) -> dict[str, float]:
    services = ground.services
    chores: dict[str, Callable[[], Awaitable[object]]] = {
        "forgetting what is old": lambda: forget_old(services),
        "numbering the change feed": lambda: number_all(services.database),
        "folding the queues' numbers": lambda: fold_queue_numbers(services.database),
        "looking for what is due": lambda: run_schedules(services),
    }
    return {name: await _timed(chore) for name, chore in chores.items()}


async def _timed(chore: Callable[[], Awaitable[object]]) -> float:
    """Its milliseconds when there is nothing to do; the first time may have something."""
    await chore()
    began = time.perf_counter()
    await chore()
    return (time.perf_counter() - began) * 1000


def _section(sizes: dict[str, int], lists: dict[str, list[float]], chores: dict[str, float]) -> Section:
    slowest = max(lists, key=lambda path: statistics.median(lists[path]))
    most_ms = statistics.median(lists[slowest])
    chores_ms = max(chores.values())
    return Section(
        "Lists and housekeeping on large tables",
        f"{sizes['runs']:,} runs, {sizes['runs'] * sizes['jobs_a_run']:,} jobs, "
        f"{sizes['products'] * sizes['changes_a_product']:,} changes, {sizes['products']:,} products of 3 variants. "
        f"Each list {TIMES} times over HTTP, page of the default size; housekeeping with nothing to do.",
        [
            Table(
                ["list", "first, ms", "median, ms", "most, ms"],
                [
                    [f"`{path}`", *(f"{value:.1f}" for value in (times[0], statistics.median(times), max(times)))]
                    for path, times in lists.items()
                ],
            ),
            Table(["housekeeping", "ms"], [[name, f"{value:.1f}"] for name, value in chores.items()]),
        ],
        [
            Figure("lists", f"the slowest list, `{slowest}`", f"{most_ms:.0f} ms", "<= 200 ms", most_ms <= LIST_MS),
            Figure("chores", "the slowest chore", f"{chores_ms:.0f} ms", "<= 50 ms", chores_ms <= HOUSEKEEPING_MS),
        ],
    )
