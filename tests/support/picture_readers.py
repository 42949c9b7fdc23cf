"""What readers see of pictures, and what they are told of them."""

from __future__ import annotations

import hashlib
import json

from app.persistence import product_lists, whole_variants
from app.samplefeed import SampleFeed
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.stack import Stack


async def seen(stack: Stack) -> dict[str, list[str]]:
    """What readers see: the first characters of each picture's hash, by variant, in order."""
    async with stack.services.database.read() as db:
        keys = await product_lists.list_keys(db, product_lists.ProductFilter(), sort="sku", after=None, limit=100)
        variants = await whole_variants.variants_of(db, [key.id for key in keys], {"images"})
        return {
            item.sku: [picture["sha256"] for picture in json.loads(item.images)]
            for item in variants
            if item.images is not None
        }


def hashes(origin: PictureOrigin, *paths: str) -> list[str]:
    return [hashlib.sha256(origin.bodies[path]).hexdigest() for path in paths]


async def told(stack: Stack, since: int = 0) -> list[tuple[str, str, tuple[str, ...]]]:
    """Changes of variants."""
    rows = await stack.rows(
        "SELECT sku, kind, fields FROM changes WHERE entity = 'variant' AND id > :since ORDER BY id", since=since
    )
    return [(row["sku"], row["kind"], tuple(row["fields"])) for row in rows]


async def newest_change(stack: Stack) -> int:
    return int(await stack.value("SELECT COALESCE(max(id), 0) FROM changes"))


def two_pictures(origin: PictureOrigin) -> tuple[SampleFeed, str, str]:
    """One variant that shows /a and /b; the family's and the variant's SKU."""
    feed = bare_feed()
    sku = skus_of(feed)[0]
    show(feed, sku, [origin.put("/a", jpeg(1)), origin.put("/b", jpeg(2))])
    return feed, sku, str(feed.document(sku)["ChildProducts"][0]["Sku"])
