"""A document that comes without its children is grouped as it is read, unless that is doubted (FEED.md, "Family")."""

from __future__ import annotations

from typing import Any

import pytest

from app.samplefeed import SampleFeed
from tests.conftest import MakeStack
from tests.integration.test_doubts import skus
from tests.integration.test_feed_cases import active, plain_feed
from tests.integration.test_feed_unfinished import skus_of
from tests.support.stack import Stack

PRODUCTS = "SELECT p.sku FROM products p WHERE p.status = 'active' ORDER BY p.sku"


def lone_child(document: dict[str, Any]) -> None:
    """One child of the document's own SKU, whose number is a family's."""
    document.update(ANumber="AN2", ChildProducts=[{**document["ChildProducts"][0], "Sku": document["Sku"]}])


async def products(stack: Stack) -> list[str]:
    return [row["sku"] for row in await stack.rows(PRODUCTS)]


def taken_away(feed: SampleFeed, sku: str, *, key_too: bool) -> None:
    def change(document: dict[str, Any]) -> None:
        document["ChildProducts"] = []
        if key_too:
            del document["ChildProducts"]

    feed.edit(sku, change)


@pytest.mark.parametrize("key_too", [False, True])
async def test_documents_that_lose_a_child_of_their_own_sku_are_the_family_that_they_are_read_fresh(
    make_stack: MakeStack, key_too: bool
) -> None:
    feed = plain_feed(families=4, variants=1)
    p, q, *others = skus_of(feed)
    for sku in (p, q):
        feed.edit(sku, lone_child)
    async with make_stack(feed) as stack:
        await stack.sync()
        assert await products(stack) == sorted([p, q, *others])
        before = await skus(stack)
        for sku in (p, q):
            taken_away(feed, sku, key_too=key_too)
        await stack.sync()
        assert await products(stack) == sorted(["AN2", *others])
        assert await active(stack, "AN2") == 2
        assert await skus(stack) == before
        assert await stack.problems("A23") == []
        stack.server.log.reset()
        await stack.sync()
        assert stack.server.log.counts["document"] == 0


async def test_a_document_whose_children_moved_is_grouped_by_its_number_at_once(make_stack: MakeStack) -> None:
    feed = plain_feed(families=4)
    p, taker, *_ = skus_of(feed)
    feed.edit(p, lambda document: document.update(ANumber="AN2"))
    async with make_stack(feed) as stack:
        await stack.sync()
        moving = feed.document(p)["ChildProducts"]
        taken_away(feed, p, key_too=False)
        feed.edit(taker, lambda document: document["ChildProducts"].extend(moving))
        stack.server.faults.add(f"*/{taker}.json", "slow", seconds=1.5)
        await stack.sync()
        assert (await active(stack, "AN2"), await active(stack, taker)) == (1, 6)
        assert p not in await products(stack)
        assert await stack.problems("A23") == []


@pytest.mark.parametrize("skus_too", [False, True])
async def test_a_document_whose_children_are_missing_is_grouped_by_its_number_when_the_doubt_is_over(
    make_stack: MakeStack, skus_too: bool
) -> None:
    feed = plain_feed(families=4)
    p, q, *_ = skus_of(feed)
    feed.edit(p, lambda document: document.update(ANumber="AN2"))
    feed.edit(q, lone_child)
    async with make_stack(feed) as stack:
        await stack.sync()
        for sku in (p, q):
            taken_away(feed, sku, key_too=False)
        if skus_too:
            await stack.sync("A23", skus=(p,))
            assert await active(stack, p) == 3
        await stack.sync()
        if not skus_too:
            assert (await active(stack, p), await active(stack, "AN2")) == (3, 1)
            assert [problem["kind"] for problem in await stack.problems("A23")] == ["suspect"]
            await stack.sync()
        assert await active(stack, "AN2") == 2
        assert p not in await products(stack)
