"""`skus`: families that the feed has are found, also before it was read, and those that it does not have are errors."""

from __future__ import annotations

from typing import Any

import pytest

from app.samplefeed.feed import SampleFeed
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import active, first_sku, plain_feed
from tests.support.stack import Stack

Json = dict[str, Any]


def without_prefix(*, lone: bool = False) -> tuple[SampleFeed, str]:
    """A feed whose first file is named with the supplier's prefix, which its SKU lacks; and that SKU."""
    feed = plain_feed(families=3)
    named = first_sku(feed)
    sku = named.removeprefix("A23-")
    document = feed.document(named)
    if lone:
        document = {**document["ChildProducts"][0], "ANumber": "A23"}
    feed.set_document("A23", f"{named}.json", {**document, "Sku": sku})
    return feed, sku


def group(feed: SampleFeed, a_number: str) -> SampleFeed:
    """The feed with a family of two documents, which are not named after it."""
    kid = feed.document(first_sku(feed))["ChildProducts"][0]
    for number in (1, 2):
        feed.set_document("A23", f"l{number}.json", {**kid, "Sku": f"L-{number}", "ANumber": a_number})
    return feed


async def refused(stack: Stack) -> dict[str, str]:
    """The SKUs that the newest run did not find, and why."""
    return {item["sku"]: item["reason"] for item in await stack.problems("A23") if item["kind"] == "sku-not-in-feed"}


@pytest.mark.parametrize("lone", [False, True])
@pytest.mark.parametrize("prefix", ["", "A23-"])
async def test_a_family_whose_sku_lacks_the_prefix_is_found_before_it_was_read(
    make_stack: MakeStack, prefix: str, *, lone: bool
) -> None:
    feed, sku = without_prefix(lone=lone)
    async with make_stack(feed) as stack:
        for _ in range(2):
            stack.server.log.reset()
            await stack.sync("A23", skus=(f"{prefix}{sku}",))
            assert await refused(stack) == {}
            run = await stack.run("A23")
            assert (run["families_total"], run["families_completed"]) == (1, 1)
            assert stack.server.log.counts["document"] == 1
            assert await active(stack, sku) == (1 if lone else 3)


async def test_a_plain_name_goes_before_one_with_the_prefix(make_stack: MakeStack) -> None:
    feed, sku = without_prefix()
    document = feed.document(f"A23-{sku}")
    feed.set_document("A23", f"{sku}.json", {**document, "ChildProducts": document["ChildProducts"][:1]})
    async with make_stack(feed) as stack:
        await stack.sync("A23", skus=(f"A23-{sku}",))
        assert list(await refused(stack)) == [f"A23-{sku}"]
        assert await stack.value("SELECT count(*) FROM products") == 0, "the other document speaks for the family"
        stack.server.log.reset()
        await stack.sync("A23", skus=(sku,))
        assert await active(stack, sku) == 1


async def test_another_family_is_not_written_because_its_file_was_named(make_stack: MakeStack) -> None:
    feed = plain_feed(families=2)
    sku = first_sku(feed)
    bare = sku.removeprefix("A23-")
    async with make_stack(feed) as stack:
        await stack.sync("A23", skus=(bare,))
        assert list(await refused(stack)) == [bare]
        assert f": {sku}.json is of {sku}; " in (await refused(stack))[bare]
        assert await stack.value("SELECT count(*) FROM products") == 0
        await stack.sync()
        assert await active(stack, sku) == 3, "what was read for nothing is applied by the next sync"


async def test_a_family_that_only_unread_documents_may_make_is_told_as_such(make_stack: MakeStack) -> None:
    async with make_stack(group(plain_feed(families=1), "G1")) as stack:
        await stack.sync("A23", skus=("G1",))
        told = "no document that was read is this family's; a sync without skus reads the 3 documents that were never"
        assert await refused(stack) == {"G1": f"{told} read"}
        assert stack.server.log.counts["document"] == 0, "a typing error does not fetch the whole feed"
        await stack.sync()
        await stack.sync("A23", skus=("G1", "g1"))
        assert await refused(stack) == {"g1": "no document of the manifest is this family's"}
        assert await active(stack, "G1") == 2


async def test_a_family_whose_document_is_anothers_by_now_is_not_in_the_feed(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    sku = first_sku(feed)
    async with make_stack(feed) as stack:
        await stack.sync()
        feed.edit(sku, lambda document: document.update(Sku=f"{sku}B"))
        for _ in range(2):
            await stack.sync("A23", skus=(sku,))
            told = f"no document of the manifest is this family's: {sku}.json is of {sku}B"
            assert await refused(stack) == {sku: told}
            run = await stack.run("A23")
            assert (run["status"], run["families_failed"], run["error"]) == ("completed_with_errors", 1, told)
        assert await active(stack, sku) == 3, "nothing is removed by name"
        await stack.sync("A23", skus=(f"{sku}B",))
        assert await refused(stack) == {}
        await stack.sync()
        assert (await active(stack, sku), await active(stack, f"{sku}B")) == (0, 3)


async def test_a_group_that_its_documents_left_is_not_in_the_feed(make_stack: MakeStack) -> None:
    feed = group(plain_feed(families=1), "G1")
    async with make_stack(feed) as stack:
        await stack.sync()
        group(feed, "G2")
        await stack.sync("A23", skus=("G1",))
        assert await refused(stack) == {"G1": "no document of the manifest is this family's: l1.json is of G2"}


async def test_a_document_that_cannot_be_read_is_the_only_error(make_stack: MakeStack) -> None:
    feed, sku = without_prefix()
    async with make_stack(feed) as stack:
        stack.server.faults.add("document", "status", status=404)
        await stack.sync("A23", skus=(sku,))
        assert await refused(stack) == {}
        assert len(await stack.problems("A23")) == 1
