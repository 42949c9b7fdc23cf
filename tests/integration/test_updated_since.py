"""A product's `updatedAt` moves with its variants, so that who polls by `updatedSince` misses nothing."""

from __future__ import annotations

from sqlalchemy import text

from app.persistence.catalogue.removals import take_dropped
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import numbered, plain_feed


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
