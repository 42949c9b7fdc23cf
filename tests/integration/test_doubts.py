"""What is in doubt is believed when the next reading confirms it, and only then (ENGINE.md 3, "Suspects")."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from app.catalogue.file_names import stem_of
from app.persistence import documents
from app.samplefeed import SampleFeed
from app.sync.family import stage as families
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import Json, active, first_sku, make_variant_alone, plain_feed
from tests.support.stack import Stack

SIX = range(6)


class Family:
    """One family of six children, of which any may be shown."""

    def __init__(self, feed: SampleFeed, stack: Stack) -> None:
        self._feed, self._stack = feed, stack
        self.sku = first_sku(feed)
        self.file = f"{self.sku}.json"
        self._whole: Json = feed.document(self.sku)

    def rename(self, file: str) -> None:
        """What is put from now on is in this file, and its file until now is gone."""
        self._feed.remove_family(stem_of(self.file))
        self.file = file

    def put(self, children: Collection[int], *, rehash: bool = False, ean: str | None = None, suffix: str = "") -> None:
        """Show these children; `ean` is the first one's, `suffix` is put to each one's SKU."""
        shown = [{**child} for number, child in enumerate(self._whole["ChildProducts"]) if number in children]
        for child in shown:
            child["Sku"] += suffix
        if ean is not None:
            shown[0]["Ean"] = ean
        document = {**self._whole, "ChildProducts": shown}
        self._feed.set_document("A23", self.file, document, rehash=rehash)

    async def left(self, *, force: bool = False) -> tuple[int, list[str]]:
        """How many variants are active after a sync, and what it warned of."""
        await self._stack.sync(force=force)
        kinds = [problem["kind"] for problem in await self._stack.problems("A23")]
        return await active(self._stack, self.sku), kinds


DOUBTED, STALE = (6, ["suspect"]), (6, ["stale"])


@pytest.fixture
def feed() -> SampleFeed:
    return plain_feed(families=1, variants=6)


async def test_old_bytes_under_a_new_hash_do_not_vouch_for_what_comes_after_them(
    make_stack: MakeStack, feed: SampleFeed
) -> None:
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        assert await family.left() == (6, [])
        feed.rehash(family.sku)
        assert await family.left() == STALE
        family.put([0])
        assert await family.left() == DOUBTED, "children that are missing for the first time stay"
        assert await family.left() == (1, [])


async def test_old_bytes_that_stay_are_believed(make_stack: MakeStack, feed: SampleFeed) -> None:
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        await stack.sync()
        feed.rehash(family.sku)
        assert await family.left() == STALE
        assert await family.left() == (6, [])
        stack.server.log.reset()
        await stack.sync()
        assert stack.server.log.counts["document"] == 0


@pytest.mark.parametrize("rehash", [False, True])
@pytest.mark.parametrize("then", [[], [0], [2, 3], [0, 2, 3]])
async def test_what_was_not_missing_in_the_doubted_reading_does_not_go_with_it(
    make_stack: MakeStack, feed: SampleFeed, then: list[int], rehash: bool
) -> None:
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        await stack.sync()
        family.put([0, 1], rehash=True)
        assert await family.left() == DOUBTED
        family.put(then, rehash=rehash)
        confirmed = len(then) == 3  # and no more than half of six go
        assert await family.left() == ((3, []) if confirmed else DOUBTED)
        assert await family.left() == (len(then) or 1, []), "a document without children is one variant"


@pytest.mark.parametrize(("then", "left"), [([0, 1], 2), (SIX, 6)])
async def test_children_that_come_back_stay(
    make_stack: MakeStack, feed: SampleFeed, then: Collection[int], left: int
) -> None:
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        await stack.sync()
        family.put([0], rehash=True)
        assert await family.left() == DOUBTED
        family.put(then)
        assert await family.left() == (left, [])
        family.put([0], rehash=True)
        assert (await family.left())[0] == (6 if left == 6 else 1), "the doubt before is over"


async def test_a_document_that_changes_daily_is_believed_at_its_second_reading(
    make_stack: MakeStack, feed: SampleFeed
) -> None:
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        await stack.sync()
        family.put([0], rehash=True, ean="8710000000001")
        assert await family.left() == DOUBTED
        family.put([0], rehash=True, ean="8710000000002")
        assert await family.left() == (1, [])
        family.put([0], rehash=True, ean="8710000000003")
        assert await family.left() == (1, [])
        assert await stack.value("SELECT content ->> 'ean' FROM variants WHERE status = 'active'") == "8710000000003"


@pytest.mark.parametrize("rehash", [False, True])
async def test_what_is_in_doubt_is_read_past_caches_under_whatever_hash(
    make_stack: MakeStack, feed: SampleFeed, monkeypatch: pytest.MonkeyPatch, rehash: bool
) -> None:
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        await stack.sync()
        family.put([0], rehash=True)
        outbound, asked = stack.services.outbound, []
        get = outbound.get

        async def noting(url: str, **options: Any) -> Any:
            if options["kind"] == "document":
                asked.append(options["headers"].get("Cache-Control"))
            return await get(url, **options)

        monkeypatch.setattr(outbound, "get", noting)
        await stack.sync()
        family.put([0], rehash=rehash, ean="8710000000001")
        await stack.sync()
        assert asked == [None, "no-cache"]


async def test_a_doubted_body_under_another_hash_is_old_bytes_once(make_stack: MakeStack, feed: SampleFeed) -> None:
    """The new hash may be the healed document's, behind a cache that has the doubted one."""
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        await stack.sync()
        for _ in range(2):
            family.put([0], rehash=True)
            assert await family.left() == DOUBTED
        family.put([0], rehash=True)
        assert await family.left() == (1, []), "a hash that changes daily does not put it off for ever"


async def test_a_confirmed_reading_whose_family_was_not_written_is_believed_in_the_next_run(
    make_stack: MakeStack, feed: SampleFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_stack(feed, job_max_attempts=1) as stack:
        family = Family(feed, stack)
        await stack.sync()
        family.put([0], rehash=True)
        assert await family.left() == DOUBTED
        with monkeypatch.context() as broken:
            broken.setattr(families, "commit_families", gives_up)
            await stack.sync()
            assert await active(stack, family.sku) == 6
        assert await family.left() == (1, [])


async def test_a_reset_forgets_what_was_in_doubt_and_force_does_not(make_stack: MakeStack, feed: SampleFeed) -> None:
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        await stack.sync()
        family.put([0], rehash=True)
        assert await family.left() == DOUBTED
        async with stack.services.database.begin() as db:
            supplier = int(await stack.value("SELECT id FROM suppliers WHERE code = 'A23'"))
            await documents.reset_supplier(db, supplier)
        assert await family.left() == DOUBTED
        await stack.sync(force=True)
        assert await active(stack, family.sku) == 1


async def test_what_moved_to_another_family_is_missing_anew_and_costs_one_more_reading(make_stack: MakeStack) -> None:
    feed = plain_feed(families=2, variants=6)
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        taker = next(name for entry in feed.entries("A23") if (name := entry.file_name[:-5]) != family.sku)
        moving = feed.document(family.sku)["ChildProducts"][1]
        await stack.sync()
        family.put([0, 1], rehash=True)
        assert await family.left() == DOUBTED
        family.put([0])
        feed.edit(taker, lambda document: document["ChildProducts"].append(moving))
        assert await family.left() == (5, ["suspect"])
        assert await active(stack, taker) == 7
        assert await family.left() == (1, [])


async def test_documents_that_make_a_family_together_confirm_it_together(make_stack: MakeStack) -> None:
    feed = plain_feed(families=6, variants=1)
    names = [entry.file_name.removesuffix(".json") for entry in feed.entries("A23")]

    def renumber(*numbers: int) -> None:
        for number in numbers:
            feed.edit(names[number], lambda document: document.update(Sku=document["Sku"] + "N"))

    for name in names:
        feed.edit(name, make_variant_alone)
    async with make_stack(feed) as stack:
        await stack.sync()
        before = await skus(stack)
        assert len(before) == 6
        renumber(0, 1, 2, 3)
        await stack.sync()
        assert await skus(stack) == before, "four of six are missing"
        renumber(4)
        await stack.sync()
        assert await skus(stack) == before, "one more is"
        stack.server.faults.add(f"*/{names[5]}.json", "status", status=404)
        await stack.sync()
        after = await skus(stack)
        assert after == {*(f"{name}N" for name in names[:5]), names[5]}, "what cannot be read says what it said"
        stack.server.faults.clear()
        await stack.sync()
        renumber(0, 1, 2, 3)
        await stack.sync()
        assert await skus(stack) == after, "what was confirmed once vouches for nothing later"
        await stack.sync()
        assert len(await skus(stack) - after) == 4


RENAMED = ["X-{}.json", "{}.JSON", "A23-{}.json"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("children", [[], [0], [0, 1]])
@pytest.mark.parametrize("file", RENAMED)
async def test_a_document_in_another_file_is_doubted_as_in_the_same(
    make_stack: MakeStack, feed: SampleFeed, file: str, children: list[int], force: bool
) -> None:
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        await stack.sync()
        family.rename(file.format(family.sku))
        family.put(children)
        assert await family.left(force=force) == DOUBTED
        assert await family.left() == (len(children) or 1, [])
        stack.server.log.reset()
        await stack.sync()
        assert stack.server.log.counts["document"] == 0


@pytest.mark.parametrize("file", RENAMED)
async def test_a_renamed_document_of_other_children_or_of_a_doubted_family_is_doubted(
    make_stack: MakeStack, feed: SampleFeed, file: str
) -> None:
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        await stack.sync()
        family.put([0], rehash=True)
        assert await family.left() == DOUBTED
        family.rename(file.format(family.sku))
        family.put([0, 1], suffix="N")
        assert await family.left() == DOUBTED
        assert await family.left() == (2, [])


@pytest.mark.parametrize("file", RENAMED)
async def test_a_renamed_document_that_lacks_little_or_what_moved_is_believed(make_stack: MakeStack, file: str) -> None:
    feed = plain_feed(families=2, variants=6)
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        taker = next(name for entry in feed.entries("A23") if (name := entry.file_name[:-5]) != family.sku)
        moving = feed.document(family.sku)["ChildProducts"][1:3]
        await stack.sync()
        family.rename(file.format(family.sku))
        family.put([0, 4, 5])
        feed.edit(taker, lambda document: document["ChildProducts"].extend(moving))
        left, kinds = await family.left()
        assert (left, await active(stack, taker)) == (3, 8)
        assert "suspect" not in kinds


async def test_a_document_that_leaves_in_doubt_is_doubted_anew_when_it_comes_back(
    make_stack: MakeStack, feed: SampleFeed
) -> None:
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        own = family.file
        await stack.sync()
        family.put([0], rehash=True)
        assert await family.left() == DOUBTED
        family.rename("X.json")
        family.put(SIX)
        assert await family.left() == (6, [])
        family.rename(own)
        family.put([0])
        assert await family.left() == DOUBTED
        assert await family.left() == (1, [])


async def test_a_double_that_leaves_vouches_for_nothing(make_stack: MakeStack, feed: SampleFeed) -> None:
    feed.set_document("A23", "zz-double.json", feed.document(first_sku(feed)))
    async with make_stack(feed) as stack:
        family = Family(feed, stack)
        await stack.sync()
        feed.remove_family("zz-double")
        family.put([0], rehash=True)
        assert await family.left() == DOUBTED
        assert await family.left() == (1, [])


async def test_documents_of_one_variant_each_go_unless_others_come_in_their_place(make_stack: MakeStack) -> None:
    feed = plain_feed(families=6, variants=1)
    names = [entry.file_name.removesuffix(".json") for entry in feed.entries("A23")]
    for name in names:
        feed.edit(name, make_variant_alone)
    async with make_stack(feed) as stack:
        await stack.sync()
        for name in names[:2]:
            feed.remove_family(name)
        await stack.sync()
        assert await skus(stack) == set(names[2:]), "the guard has judged what the manifest lacks"
        for name in names[2:]:
            feed.set_document("A23", f"N{name}.json", {**feed.document(name), "Sku": f"{name}N"})
            feed.remove_family(name)
        await stack.sync()
        assert await skus(stack) >= set(names[2:])
        assert [problem["kind"] for problem in await stack.problems("A23")] == ["suspect"]
        await stack.sync()
        assert await skus(stack) == {f"{name}N" for name in names[2:]}


async def skus(stack: Stack) -> set[str]:
    return {row["sku"] for row in await stack.rows("SELECT sku FROM variants WHERE status = 'active'")}


async def gives_up(*_: object) -> None:
    raise RuntimeError("gave up")
