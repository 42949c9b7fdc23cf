"""Compare what a sync left behind with what the feed says: catalogue, object store, ledger, change feed.

Read through the same queries as the API's answers, against the oracle, which shares no line with the parser.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from app.jobs.definitions import QUEUES
from app.persistence import product_lists
from app.persistence.product_lists import ProductFilter
from app.views.catalogue import products_json
from app.views.picture_addresses import PictureAddresses
from app.views.whole import Form
from tests.support.oracle import comparable, expected_pictures, expected_products
from tests.support.stack import Stack

SUMMARY = """
SELECT families_total = families_completed + families_failed + families_cancelled
   AND images_total = images_uploaded + images_deduplicated + images_failed + images_cancelled
   AND open_jobs = 0 AND finished_at IS NOT NULL AS adds_up, r.* FROM runs r ORDER BY created_at
"""


async def assert_catalogue_equals_feed(stack: Stack, *suppliers: str) -> None:
    """Every active product of these suppliers (all of the feed's by default) is as the documents say."""
    for supplier in suppliers or stack.feed.suppliers():
        expected = expected_products(stack.feed, supplier)
        stored = await stored_products(stack, supplier)
        assert sorted(stored) == sorted(expected)
        wrong = [sku for sku, product in expected.items() if comparable(stored[sku]) != product]
        assert not wrong, (supplier, wrong[0], comparable(stored[wrong[0]]), expected[wrong[0]])


async def stored_products(stack: Stack, supplier: str) -> dict[str, dict[str, Any]]:
    """A supplier's active products, as the API answers them."""
    address = stack.services.store.public_url
    form = Form(PictureAddresses(address, prefix=None, stamp=""), sees_buying=True)
    async with stack.services.database.read() as db:
        wanted = ProductFilter(supplier=supplier, status="active")
        keys = await product_lists.list_keys(db, wanted, sort="sku", after=None, limit=100_000)
        return {
            key.sku: orjson.loads(b"".join(raw))
            for key, raw in zip(keys, await products_json(db, keys, form), strict=True)
        }


async def assert_store_equals_feed(stack: Stack) -> None:
    """Each picture's bytes are in the store once, by their sha256, and nothing else is."""
    expected = Counter(expected_pictures(stack.feed).values())
    if stack.settings.s3_bucket is None:
        folder = Path(stack.settings.data_dir) / "media"
        stored = Counter(path.name.partition(".")[0] for path in folder.glob("[0-9a-f]*/**/*") if path.is_file())
        assert stored == Counter(dict.fromkeys(expected, 1))
    recorded = await stack.rows("SELECT encode(sha256, 'hex') AS sha256, key, size_bytes FROM media")
    assert sorted(row["sha256"] for row in recorded) == sorted(expected)
    for row in recorded:
        head = await stack.services.store.head(row["key"])
        assert head is not None
        assert head.size == row["size_bytes"]


async def assert_nothing_left_over(stack: Stack) -> None:
    """No open job, no run under way, no change without a number, no job twice, nothing in Redis that the ledger lacks.

    Double products, variants, media, links and jobs are refused by unique keys; here it is shown that none was needed.
    """
    assert await stack.rows("SELECT id, state FROM jobs WHERE state IN ('waiting', 'active', 'delayed')") == []
    assert await stack.rows("SELECT id, status FROM runs WHERE status IN ('queued', 'running', 'cancelling')") == []
    summaries = await stack.rows(SUMMARY)
    assert [run for run in summaries if not run["adds_up"]] == []
    for entity, kind in (("product", "created"), ("variant", "created")):
        twice = await stack.rows(
            "SELECT supplier_id, sku FROM changes WHERE entity = :entity AND kind = :kind "
            "GROUP BY supplier_id, sku HAVING count(*) > 1",
            entity=entity,
            kind=kind,
        )
        assert twice == []


async def assert_no_attempt_spent(stack: Stack) -> None:
    """Nothing that happened counted as an error of a job."""
    spent = await stack.rows("SELECT id, queue, attempts, error FROM jobs WHERE attempts > 0 OR error IS NOT NULL")
    assert spent == []


async def assert_first_sync_is_counted_once(stack: Stack) -> None:
    """CASES.md C5: what a first sync created is counted as created, once, however often its workers died."""
    counted = (await stack.rows("SELECT sum(variants_created) AS created, sum(variants_updated) AS updated FROM runs"))[
        0
    ]
    assert (counted["created"], counted["updated"]) == (await stack.value("SELECT count(*) FROM variants"), 0)
    pictures = (await stack.rows("SELECT sum(images_uploaded) AS uploaded, sum(images_failed) AS failed FROM runs"))[0]
    assert (pictures["uploaded"], pictures["failed"]) == (await stack.value("SELECT count(*) FROM media"), 0)
    families = await stack.value("SELECT sum(families_completed) FROM runs")
    assert families == await stack.value("SELECT count(*) FROM jobs WHERE queue = 'product-family'")


async def assert_as_if_nothing_had_happened(stack: Stack) -> None:
    """Everything above: a first sync of the whole feed went through, and what struck it left no trace."""
    assert {run["status"] for run in await stack.rows("SELECT status FROM runs")} == {"completed"}
    await assert_catalogue_equals_feed(stack)
    await assert_store_equals_feed(stack)
    await assert_nothing_left_over(stack)
    await assert_no_attempt_spent(stack)
    await assert_first_sync_is_counted_once(stack)


async def assert_redis_forgets(stack: Stack, timeout_s: float = 15.0) -> None:
    """The messages of what is over go; one that a dying worker left goes with its lease."""
    assert stack.services.queue is not None
    redis, deadline = stack.services.queue.redis, time.monotonic() + timeout_s
    while left := {name: number for name in QUEUES if (number := await redis.zcard(name))}:
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.1)
