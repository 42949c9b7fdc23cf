"""Each page of the dashboard on large tables: the fixture of `large`, 14 days of minutes, each page five times.

tables filled by SQL ─▶ the API as a process ─▶ each page as a browser asks for it, over HTTP, one after the other
"""

from __future__ import annotations

import asyncio
import statistics
import time

import httpx

from bench.api_process import serving_api
from bench.ground import Ground, Servers
from bench.large import filled, sizes_of
from bench.report import Figure, Section, Table

TIMES = 5
PAGE_MS = 200.0
MINUTES = """
INSERT INTO queue_minutes (minute, queue, done, failed, waiting, active, oldest_s)
SELECT date_trunc('minute', now()) - n * interval '1 min', q.name, n % 50, n % 7, n % 90, 5, n % 60
FROM generate_series(1, 14 * 1440) n, queues q
"""
WEBHOOK = """
INSERT INTO webhooks (id, url, events, secret) VALUES (gen_random_uuid(), 'http://shop.example/', '{run.finished}', 'x')
RETURNING id
"""
AUDIT = """
INSERT INTO audit (actor, via, action, target, result, at)
SELECT 'key' || n % 50, 'api', 'startSync', 'S' || n % 20, 'ok', now() - n * interval '1 min'
FROM generate_series(1, 100000) n
"""
WHOLE = (
    """
    UPDATE products SET content = content || '{"brand": null, "shortDescription": {}, "secondaryCategories": [],
        "countryOfOrigin": null, "attributes": {}}' WHERE sku = 'P-0000100'
    """,
    """
    UPDATE variants SET content = content || '{"color": "Red", "hexColor": null, "size": null, "configuration": null,
        "weightGrams": null, "dimensionsMm": null}' WHERE sku LIKE 'P-0000100-%'
    """,
)
"""The one product whose page is asked for, with all that a sync writes."""
PAGES = (
    "/",
    "/runs",
    "/runs?supplier=S3",
    "/runs?status=failed",
    "/runs/{run}",
    "/queues",
    "/queues?window=14d",
    "/queues/image-upload",
    "/queues/image-upload?state=failed",
    "/queues/image-upload?supplier=S3&state=failed",
    "/queues/image-upload?q=P-0000100",
    "/queues/image-upload/jobs/{job}",
    "/catalogue",
    "/catalogue?q=tas",
    "/catalogue?supplier=S3&category=C7",
    "/catalogue/P-0000100?supplier=S1",
    "/suppliers",
    "/suppliers/S3",
    "/workers",
    "/webhooks",
    "/webhooks/{webhook}",
    "/audit",
    "/audit?actor=key7",
)


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `pages`."""
    return asyncio.run(_measure(servers, sizes_of(100 if quick else 1)))


async def _measure(servers: Servers, sizes: dict[str, int]) -> Section:
    async with filled(servers, sizes) as ground:
        places = await _places(ground)
        async with serving_api(ground) as (base, _), httpx.AsyncClient(base_url=base, timeout=60) as http:
            took = {path: [await _asked(http, path.format(**places)) for _ in range(TIMES)] for path in PAGES}
    return _section(sizes, took)


async def _places(ground: Ground) -> dict[str, str]:
    """Minutes, entries, a webhook, and what the pages' addresses name."""
    for statement in (MINUTES, AUDIT, *WHOLE, "ANALYZE queue_minutes, audit"):
        await ground.pool.execute(statement, timeout=300)
    (run,) = await ground.rows("SELECT id FROM runs ORDER BY created_at DESC OFFSET 5 LIMIT 1")
    (job,) = await ground.rows("SELECT id FROM jobs WHERE run_id = $1 LIMIT 1", run["id"])
    (webhook,) = await ground.rows(WEBHOOK)
    return {"run": str(run["id"]), "job": str(job["id"]), "webhook": str(webhook["id"])}


async def _asked(http: httpx.AsyncClient, path: str) -> float:
    began = time.perf_counter()
    (await http.get(path)).raise_for_status()
    return (time.perf_counter() - began) * 1000


def _section(sizes: dict[str, int], took: dict[str, list[float]]) -> Section:
    slowest = max(took, key=lambda path: statistics.median(took[path]))
    most_ms = statistics.median(took[slowest])
    rows = [
        [f"`{path}`", *(f"{value:.1f}" for value in (times[0], statistics.median(times), max(times)))]
        for path, times in took.items()
    ]
    return Section(
        "The dashboard's pages on large tables",
        f"{sizes['runs']:,} runs, {sizes['runs'] * sizes['jobs_a_run']:,} jobs, {sizes['products']:,} products of 3 "
        f"variants, 14 days of minutes, 100,000 entries in the audit trail; each page {TIMES} times over HTTP.",
        [Table(["page", "first, ms", "median, ms", "most, ms"], rows)],
        [Figure("pages", f"the slowest page, `{slowest}`", f"{most_ms:.0f} ms", "<= 200 ms", most_ms <= PAGE_MS)],
    )
