"""After a sync the catalogue, as the API answers it, is what the feed says: read independently of the parser."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from app.samplefeed import FeedSpec, SampleFeed
from tests.conftest import MakeStack
from tests.support.api_client import ApiClient, api_client
from tests.support.oracle import comparable, expected_pictures, expected_products
from tests.support.stack import Stack


async def assert_catalogue_is_the_feed(api: ApiClient, feed: SampleFeed) -> None:
    """Every product with every field that FEED.md names, and no other."""
    for supplier in feed.suppliers():
        expected = expected_products(feed, supplier)
        listed = await api.all_pages("/products", limit=50, supplier=supplier)
        assert [item["sku"] for item in listed] == sorted(expected)
        for item in listed:
            product = await api.get(f"/products/{quote(item['sku'], safe='')}", supplier=supplier)
            assert comparable(product) == expected[item["sku"]]
            assert item["variantCount"] == len(product["variants"])


async def assert_store_is_the_feed(stack: Stack, feed: SampleFeed) -> None:
    """Every picture once, under the hash of its bytes, and nothing else."""
    keys = [item.key async for item in stack.services.store.list_objects()]
    assert len(keys) == len(set(keys))
    stored = {key.rpartition("/")[2].partition(".")[0] for key in keys}
    assert stored == set(expected_pictures(feed).values())
    for key in keys[:20]:
        body = await stack.services.store.get(key)
        assert hashlib.sha256(body).hexdigest() in key


async def test_after_a_cold_sync_the_catalogue_equals_the_feed(make_stack: MakeStack, tmp_path: Path) -> None:
    feed = SampleFeed(FeedSpec.small(count=3, families=10, variants=4))
    async with make_stack(feed, data_dir=tmp_path / "data") as stack:
        await stack.sync()
        async with api_client(stack.settings) as api:
            await assert_catalogue_is_the_feed(api, feed)
        await assert_store_is_the_feed(stack, feed)


async def test_after_changes_of_every_kind_the_catalogue_equals_the_feed(make_stack: MakeStack) -> None:
    feed = SampleFeed(FeedSpec.small(count=2, families=8, variants=4, oddities=False))
    async with make_stack(feed) as stack:
        await stack.sync()
        skus = [entry.file_name.removesuffix(".json") for entry in feed.entries("A23")]
        feed.change_price(skus[0])
        feed.rename(skus[1])
        feed.add_variant(skus[2])
        feed.swap_picture(skus[3])
        feed.rehash(skus[4])
        feed.add_family("A23")
        await stack.sync()
        async with api_client(stack.settings) as api:
            await assert_catalogue_is_the_feed(api, feed)


async def test_documents_of_the_real_size_give_the_feed_too(make_stack: MakeStack) -> None:
    feed = SampleFeed(FeedSpec(suppliers=SampleFeed().spec.suppliers[:1], variants=4, small_pictures=True))
    async with make_stack(feed) as stack:
        await stack.sync()
        assert await stack.value("SELECT count(*) FROM problems") == 0
        async with api_client(stack.settings) as api:
            await assert_catalogue_is_the_feed(api, feed)
