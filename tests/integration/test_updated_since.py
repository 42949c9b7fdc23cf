"""A product's `updatedAt` moves with its variants, so that who polls by `updatedSince` misses nothing."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from app.persistence.catalogue.removals import take_dropped
from app.persistence.sessions import TIME_OUTS
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import numbered, plain_feed
from tests.support.api_client import api_client

ROOT = Path(__file__).parents[2]
OVERLAP = timedelta(minutes=15)
AFTER_A_STAMP = 20
"""Statements of the longest transaction that stamps what it changes."""


async def test_a_variant_that_moves_between_families_is_updated_and_not_lost(make_stack: MakeStack) -> None:
    feed = plain_feed(families=3)
    async with make_stack(feed) as stack:
        skus = [entry.file_name.removesuffix(".json") for entry in feed.entries("A23")]
        await stack.sync()
        before = len(await numbered(stack))
        moving = feed.document(skus[0])["ChildProducts"][2]
        feed.remove_variant(skus[0], moving["Sku"])
        feed.edit(skus[1], lambda document: document["ChildProducts"].append(moving))
        stack.server.faults.add(f"*/{skus[1]}.json", "slow", seconds=1.0)
        await stack.sync()
        rows = [row for row in (await numbered(stack))[before:] if row["sku"] == moving["Sku"]]
        assert [(row["kind"], "productSku" in row["fields"]) for row in rows] == [("updated", True)]
        assert rows[0]["product_sku"] == skus[1]
        touched = (
            "SELECT CAST(CAST(p.xmin AS text) AS bigint) >= CAST(CAST(v.xmin AS text) AS bigint) "
            "FROM products p, variants v WHERE p.sku = :left AND v.sku = :sku"
        )
        assert await stack.value(touched, left=skus[0], sku=moving["Sku"]), "its updatedAt moves with it"


async def test_a_product_whose_variant_is_discontinued_later_is_found_by_time(make_stack: MakeStack) -> None:
    async with make_stack(plain_feed()) as stack:
        await stack.sync()
        async with stack.services.database.begin() as db:
            await db.execute(text("UPDATE variants SET dropped_run_id = gen_random_uuid() WHERE position = 1"))
            await db.execute(text("DELETE FROM listings USING variants v WHERE variant_sku = v.sku AND v.position = 1"))
            now = await db.scalar(text("SELECT clock_timestamp()"))
            (supplier_id,) = await db.scalars(text("SELECT id FROM suppliers"))
            gone = await take_dropped(db, supplier_id, all_families=True)
        touched = await stack.rows("SELECT sku FROM products WHERE updated_at > :now", now=now)
        assert {row["sku"] for row in touched} == {item.product_sku for item in gone} != set()


async def test_what_is_committed_after_a_later_stamp_is_seen_with_the_overlap(make_stack: MakeStack) -> None:
    stamp = "UPDATE products SET updated_at = clock_timestamp() WHERE sku = :sku RETURNING updated_at"
    async with make_stack(plain_feed(families=2)) as stack, api_client(stack.settings) as api:
        await stack.sync()
        first, second = (item["sku"] for item in (await api.get("/products"))["items"])
        async with stack.services.database.begin() as slow:
            await slow.execute(text(stamp), {"sku": first})
            async with stack.services.database.begin() as db:
                await db.execute(text(stamp), {"sku": second})
            last = (await api.get("/products", sort="updatedAt"))["items"][-1]
            assert last["sku"] == second
        latest = datetime.fromisoformat(last["updatedAt"])
        seen = [
            [item["sku"] for item in (await api.get("/products", updatedSince=since.isoformat()))["items"]]
            for since in (latest, latest - OVERLAP)
        ]
        assert (first in seen[0], first in seen[1]) == (False, True)


def test_the_overlap_that_is_asked_for_covers_a_transaction() -> None:
    longest_s = sum(int(TIME_OUTS[name].removesuffix("s")) for name in TIME_OUTS if name != "lock_timeout")
    assert timedelta(seconds=AFTER_A_STAMP * longest_s) <= OVERLAP
    said = f"from {OVERLAP.seconds // 60} minutes before"
    assert said in re.sub(r"\s+", " ", (ROOT / "docs/shop.md").read_text())
    paths = json.loads((ROOT / "openapi.json").read_text())["paths"]
    for path in ("/api/v1/products", "/api/v1/variants"):
        described = {part["name"]: part["description"] for part in paths[path]["get"]["parameters"]}
        assert said in described["updatedSince"]
