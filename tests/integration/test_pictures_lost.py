"""Pictures whose object is gone from the store, and that nobody could fetch again: not listed, and not forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from app.persistence import explained
from tests.conftest import MakeStack
from tests.support.counting_store import CountingStore, counted
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.picture_readers import hashes, newest_change, seen, told
from tests.support.stack import Stack

CHANGED = ("updated", ("images",))


@pytest_asyncio.fixture
async def two_suppliers(make_stack: MakeStack, origin: PictureOrigin) -> AsyncIterator[tuple[Stack, CountingStore]]:
    """Synced: A23 shows /a, A360 the same bytes at /b."""
    feed = bare_feed(count=2)
    for sku, path in zip(skus_of(feed), ("/a", "/b"), strict=True):
        show(feed, sku, [origin.put(path, jpeg(1))])
    async with make_stack(feed) as plain:
        stack, store = counted(plain)
        await stack.sync()
        origin.forget()
        yield stack, store


async def variants_of(stack: Stack) -> list[str]:
    """The variants of A23 and of A360."""
    rows = await stack.rows("SELECT v.sku FROM variants v JOIN suppliers s ON s.id = v.supplier_id ORDER BY s.code")
    return [row["sku"] for row in rows]


async def test_what_is_gone_and_could_not_be_fetched_is_not_listed_and_comes_with_the_next_sync(
    two_suppliers: tuple[Stack, CountingStore], origin: PictureOrigin
) -> None:
    """A5 and A9 together: `force` finds that the object is gone, and the origin is down for a moment."""
    stack, store = two_suppliers
    mine, other = await variants_of(stack)
    shown, before = hashes(origin, "/a"), await newest_change(stack)
    for key in await store.keys():
        await store.inner.delete(key)
    body = origin.bodies.pop("/a")
    await stack.sync("A23", force=True)
    run = await stack.run("A23")
    assert (run["status"], run["images_failed"]) == ("completed_with_errors", 1)
    assert await seen(stack) == {}
    assert sorted(await told(stack, before)) == sorted([(mine, *CHANGED), (other, *CHANGED)])
    product = await stack.value("SELECT product_id FROM variants WHERE sku = :sku", sku=mine)
    async with stack.services.database.read() as db:
        states = await explained.picture_states(db, product)
    assert (states.failed, "404" in (states.error or "")) == (1, True)

    origin.put("/a", body)
    origin.forget()
    before = await newest_change(stack)
    await stack.sync()
    assert await seen(stack) == {mine: shown, other: shown}
    assert sorted(await told(stack, before)) == sorted([(mine, *CHANGED), (other, *CHANGED)])
    assert origin.given == {"/a": 1, "/b": 1}
    assert len(await store.keys()) == 1
    assert (await stack.run("A23"))["images_total"] == 1


async def test_what_is_in_the_store_stays_listed_though_the_origin_has_it_no_more(
    two_suppliers: tuple[Stack, CountingStore], origin: PictureOrigin
) -> None:
    stack, _ = two_suppliers
    shown, before = await seen(stack), await newest_change(stack)
    del origin.bodies["/a"]
    await stack.sync("A23", force=True)
    assert (await stack.run("A23"))["images_failed"] == 1
    assert await seen(stack) == shown
    assert await told(stack, before) == []
