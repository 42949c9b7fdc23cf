"""A document that the manifest lacks speaks before none that it names, whenever it will be removed (ENGINE.md 3, 4)."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from app.persistence.explained import documents_named
from app.samplefeed import SampleFeed
from app.sync.operating.dry_run import dry_run
from app.sync.operating.start import StartRequest
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import Json, active, numbered, plain_feed
from tests.integration.test_feed_corners import confirm
from tests.integration.test_feed_unfinished import skus_of
from tests.integration.test_guard_holds_variants import cut, make_whole, shrink, told_of, turn_odd
from tests.support.stack import Stack

SHOWN = """SELECT v.content ->> 'supplierSku' AS label FROM variants v JOIN products p ON p.id = v.product_id
    WHERE p.sku = :sku AND v.status = 'active' ORDER BY v.sku"""


class Files:
    """The first family of a feed, whose content may be in any files."""

    def __init__(self, feed: SampleFeed, stack: Stack) -> None:
        self._feed, self._stack = feed, stack
        self.sku = skus_of(feed)[0]
        self._whole: Json = feed.document(self.sku)
        self.kids = [str(kid["Sku"]) for kid in self._whole["ChildProducts"]]

    def put(self, stem: str, label: str, kids: Collection[int] = range(3)) -> None:
        """The whole family is in this file; each of its children says the label."""
        shown = [{**self._whole["ChildProducts"][number], "SupplierSku": label} for number in kids]
        self._feed.set_document("A23", f"{stem}.json", {**self._whole, "ChildProducts": shown})

    def put_alone(self, stem: str, label: str, number: int, family: str | None = None) -> None:
        """One child is in this file, as a variant of the family."""
        kid = self._whole["ChildProducts"][number]
        alone = {**kid, "SupplierSku": label, "ANumber": family or self.sku}
        self._feed.set_document("A23", f"{stem}.json", alone)

    async def shown(self, sku: str | None = None) -> set[str]:
        """What the family's active variants say."""
        return {row["label"] for row in await self._stack.rows(SHOWN, sku=sku or self.sku)}

    async def synced(self) -> tuple[str, list[str], set[str]]:
        """How a sync ended, of what it told, and what the family's variants say then."""
        await self._stack.sync()
        kinds = [problem["kind"] for problem in await self._stack.problems("A23")]
        return (await self._stack.run("A23"))["status"], kinds, await self.shown()


@pytest.fixture
def feed() -> SampleFeed:
    return plain_feed(families=8)


@pytest.mark.parametrize("renamed", ["x9", "A0"])
async def test_a_renamed_document_is_applied_while_its_old_file_is_not_removed(
    make_stack: MakeStack, feed: SampleFeed, renamed: str
) -> None:
    async with make_stack(feed, remove_after_runs=3) as stack:
        files = Files(feed, stack)
        await stack.sync()
        feed.remove_family(files.sku)
        files.put(renamed, "new")
        assert await files.synced() == ("completed", [], {"new"})
        async with stack.services.database.read() as db:
            found = {row["file_name"]: row for row in await documents_named(db, files.sku)}
        assert {name: row["present"] for name, row in found.items()} == {
            f"{files.sku}.json": False,
            f"{renamed}.json": True,
        }
        for _ in range(3):  # the old file is removed in the second of these: nothing is written for it
            assert await files.synced() == ("completed", [], {"new"})
            assert (await stack.run("A23"))["families_total"] == 0
        await stack.sync(reparse=True)
        assert await files.shown() == {"new"}


async def test_a_family_in_documents_of_one_variant_each_is_applied_while_its_old_file_is_not_removed(
    make_stack: MakeStack, feed: SampleFeed
) -> None:
    async with make_stack(feed, remove_after_runs=2) as stack:
        files = Files(feed, stack)
        await stack.sync()
        feed.remove_family(files.sku)
        for number in range(3):
            files.put_alone(f"k{number}", "new", number)
        for _ in range(3):
            assert await files.synced() == ("completed", [], {"new"})
        assert await active(stack, files.sku) == 3


async def test_of_a_group_the_renamed_file_counts_and_what_is_only_missing_waits(
    make_stack: MakeStack, feed: SampleFeed
) -> None:
    async with make_stack(feed, remove_after_runs=2) as stack:
        files = Files(feed, stack)
        feed.remove_family(files.sku)
        for number in range(3):
            files.put_alone(f"k{number}", "old", number, "G")
        await stack.sync()
        feed.remove_family("k0")
        feed.remove_family("k1")
        files.put_alone("m0", "new", 0, "G")
        await stack.sync()
        assert ((await stack.run("A23"))["status"], await stack.problems("A23")) == ("completed", [])
        assert [row["label"] for row in await stack.rows(SHOWN, sku="G")] == ["new", "old", "old"]
        await stack.sync()
        assert [row["label"] for row in await stack.rows(SHOWN, sku="G")] == ["new", "old"]


@pytest.mark.parametrize("damage", [cut, turn_odd])
async def test_a_renamed_document_is_applied_behind_a_manifest_that_is_doubted(
    make_stack: MakeStack, feed: SampleFeed, damage: Callable[[SampleFeed], None]
) -> None:
    """What only the old file lists is held back: it may be hidden (decision 0035)."""
    async with make_stack(feed) as stack:
        files = Files(feed, stack)
        files.put(files.sku, "old")
        await stack.sync()
        feed.remove_family(files.sku)
        files.put("A0", "new", (0, 1))
        feed.add_family("A23")  # its line is the last, which is damaged
        damage(feed)
        for _ in range(2):
            status, _, shown = await files.synced()
            run = await stack.run("A23")
            assert (status, run["guard"] is not None) == ("completed_with_errors", True)
            assert shown == {"new", "old"}
            assert (await active(stack, files.sku), run["variants_discontinued"]) == (3, 0)
            assert (await stack.run("A23"))["families_failed"] == 0
        await confirm(stack, str((await stack.run("A23"))["manifest_sha256"]))
        assert (await files.shown(), await active(stack, files.sku)) == ({"new"}, 2)


async def test_a_file_that_was_only_hidden_counts_again(make_stack: MakeStack, feed: SampleFeed) -> None:
    """Of two that are named the one that bears the SKU counts, and the other is an error."""
    async with make_stack(feed) as stack:
        files = Files(feed, stack)
        files.put(files.sku, "old")
        files.put("0", "double", (0, 1))
        await stack.sync()
        feed.hide_family(files.sku)
        shrink(feed)
        await stack.sync()
        assert (await files.shown(), await active(stack, files.sku)) == ({"double", "old"}, 3)
        make_whole(feed)
        assert await files.synced() == ("completed_with_errors", ["family-sku-twice"], {"old"})
        assert await active(stack, files.sku) == 3
        assert await files.synced() == ("completed", [], {"old"})


async def test_which_document_counts_follows_what_each_manifest_names_and_a_dry_run_foretells_it(
    make_stack: MakeStack, feed: SampleFeed
) -> None:
    twice = ("completed_with_errors", ["family-sku-twice"])
    async with make_stack(feed, remove_after_runs=9) as stack:
        files = Files(feed, stack)

        async def foretold() -> tuple[str, list[str], set[str]]:
            (said,) = await dry_run(stack.services, StartRequest())
            done = await files.synced()
            run = await stack.run("A23")
            assert {name: run[f"manifest_{name}"] for name in said.manifest} == said.manifest
            return done

        files.put(files.sku, "own")
        await stack.sync()
        files.put("b", "other")
        assert await foretold() == (*twice, {"own"})
        assert await foretold() == ("completed", [], {"own"})
        feed.hide_family(files.sku)
        assert await foretold() == ("completed", [], {"other"})
        assert await foretold() == ("completed", [], {"other"})
        feed.restore_family(files.sku)
        assert await foretold() == (*twice, {"own"})
        feed.hide_family(files.sku)
        feed.hide_family("b")
        assert await foretold() == ("completed", [], {"own"}), "where none is named it stays as it was"
        feed.restore_family("b")
        assert await foretold() == ("completed", [], {"other"})
        feed.hide_family("b")
        assert await foretold() == ("completed", [], {"other"}), "it was named last"
        files.put("a", "third")
        stack.server.faults.add("*/a.json", "status", status=404)
        assert (await foretold())[2] == {"other"}, "what could not be had replaces nothing"
        stack.server.faults.clear()
        files.put("a", "third")
        assert await foretold() == ("completed", [], {"third"})
        feed.restore_family(files.sku)
        feed.hide_family("a")
        assert await foretold() == ("completed", [], {"own"})
        assert await active(stack, files.sku) == 3


async def test_a_renamed_document_that_lists_hardly_anything_is_a_suspect(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8, variants=6)
    async with make_stack(feed, remove_after_runs=5) as stack:
        files = Files(feed, stack)
        files.put(files.sku, "old", range(6))
        await stack.sync()
        feed.remove_family(files.sku)
        files.put("x9", "new", (0,))
        assert await files.synced() == ("completed", ["suspect"], {"old"})
        assert await active(stack, files.sku) == 6
        assert await files.synced() == ("completed", [], {"new"})
        assert await active(stack, files.sku) == 1


async def test_a_family_that_is_kept_keeps_what_another_one_lists_until_it_is_removed(
    make_stack: MakeStack, feed: SampleFeed
) -> None:
    """By one manifest, which may be cut, it would be the other one's for good."""
    async with make_stack(feed, remove_after_runs=2) as stack:
        files = Files(feed, stack)
        taker, moving = skus_of(feed)[1], feed.document(files.sku)["ChildProducts"]
        await stack.sync()
        before = len(await numbered(stack))
        feed.remove_family(files.sku)
        feed.edit(taker, lambda document: document["ChildProducts"].extend(moving))
        await stack.sync()
        assert (await active(stack, files.sku), await active(stack, taker)) == (3, 3)
        await stack.sync()
        assert (await active(stack, files.sku), await active(stack, taker)) == (0, 6)
        assert await told_of(stack, files.kids[1], before) == [("updated", ["productSku"])]
