"""Pictures of what is discontinued: what readers see of them changes with their address, and never without a word."""

from __future__ import annotations

import pytest

from tests.conftest import MakeStack
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.picture_readers import hashes, newest_change, seen, told

CHANGED = ("updated", ("images",))
STAMPED = """SELECT p.updated_at AS product, v.updated_at AS variant
    FROM products p JOIN variants v ON v.product_id = p.id WHERE p.sku = :sku"""


async def test_other_bytes_at_an_address_that_an_active_family_shows_too_are_told_of_both(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    feed = bare_feed(families=3)
    gone, stays, _ = skus_of(feed)
    for sku in (gone, stays):
        show(feed, sku, [origin.put("/a", jpeg(1))])
    variants = [str(feed.document(sku)["ChildProducts"][0]["Sku"]) for sku in (gone, stays)]
    async with make_stack(feed) as stack:
        await stack.sync()
        feed.remove_family(gone)
        await stack.sync()
        assert await stack.value("SELECT status FROM products WHERE sku = :sku", sku=gone) == "discontinued"
        before, stamped = await newest_change(stack), await stack.rows(STAMPED, sku=gone)
        origin.put("/a", jpeg(2), etag="2")
        await stack.sync(force=True)
        shown = hashes(origin, "/a")
        assert await seen(stack) == dict.fromkeys(variants, shown)
        assert sorted(await told(stack, before)) == sorted((variant, *CHANGED) for variant in variants)
        newer = await stack.rows(STAMPED, sku=gone)
        assert newer[0]["product"] > stamped[0]["product"]
        assert newer[0]["variant"] > stamped[0]["variant"]
        before = await newest_change(stack)
        await stack.sync(force=True)
        assert await told(stack, before) == []


@pytest.mark.parametrize("beside", [True, False])
async def test_a_picture_that_comes_for_an_active_family_is_told_of_the_discontinued_one_too(
    make_stack: MakeStack, origin: PictureOrigin, beside: bool
) -> None:
    """It failed while both were sold; `beside` another one, which made the generation one to be shown."""
    feed = bare_feed(families=3)
    gone, stays, _ = skus_of(feed)
    shown = [origin.put("/c", jpeg(3)), origin.url("/late")] if beside else [origin.url("/late")]
    for sku in (gone, stays):
        show(feed, sku, shown)
    variants = [str(feed.document(sku)["ChildProducts"][0]["Sku"]) for sku in (gone, stays)]
    async with make_stack(feed) as stack:
        await stack.sync()
        document = feed.document(gone)
        feed.remove_family(gone)
        await stack.sync()
        before = await newest_change(stack)
        origin.put("/late", jpeg(5))
        await stack.sync()
        now = hashes(origin, "/c", "/late") if beside else hashes(origin, "/late")
        assert await seen(stack) == dict.fromkeys(variants, now)
        assert sorted(await told(stack, before)) == sorted((variant, *CHANGED) for variant in variants)
        before = await newest_change(stack)
        feed.set_document("A23", f"{gone}.json", document)
        await stack.sync()
        assert await seen(stack) == dict.fromkeys(variants, now)
        ((sku, kind, fields),) = await told(stack, before)
        assert (sku, kind, "images" in fields) == (variants[0], "reactivated", False)  # they saw it all along
