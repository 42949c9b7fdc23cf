"""One active variant stands for each product that has any (FEED.md), whoever keeps or takes which."""

from __future__ import annotations

from typing import Any

from app.samplefeed import SampleFeed
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import numbered, plain_feed
from tests.integration.test_feed_unfinished import skus_of
from tests.support.image_jobs import HeldRun
from tests.support.stack import Stack

Json = dict[str, Any]
STANDING = """SELECT v.sku, v.status FROM variants v JOIN products p ON p.id = v.product_id
    WHERE p.sku = :sku AND v.is_primary ORDER BY v.sku"""
ODD = """SELECT p.sku, count(*) FILTER (WHERE v.is_primary) AS number FROM products p
    JOIN variants v ON v.product_id = p.id AND v.status = 'active' WHERE p.status = 'active'
    GROUP BY p.sku HAVING count(*) FILTER (WHERE v.is_primary) <> 1"""


async def assert_stands(stack: Stack, family: str, variant: str) -> None:
    assert await stack.rows(STANDING, sku=family) == [{"sku": variant, "status": "active"}]
    assert await stack.rows(ODD) == []


def children_of(feed: SampleFeed, family: str) -> list[Json]:
    children: list[Json] = feed.document(family)["ChildProducts"]
    return children


def lists(feed: SampleFeed, family: str, children: list[Json], **defaults: str) -> None:
    feed.edit(family, lambda document: document.update(ChildProducts=children, DefaultProducts=defaults))


async def told_of(stack: Stack, sku: str, before: int = 0) -> list[Json]:
    return [row for row in (await numbered(stack))[before:] if row["sku"] == sku]


async def test_where_another_family_keeps_the_first_one_the_next_stands_for_a_family(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    taking, keeping = skus_of(feed)[:2]
    kept, (_, second, third) = children_of(feed, keeping)[0], children_of(feed, taking)
    feed.hide_family(taking)
    async with make_stack(feed) as stack:
        await stack.sync()
        feed.restore_family(taking)
        lists(feed, taking, [kept, second, third])
        await stack.sync()
        await assert_stands(stack, taking, second["Sku"])
        lists(feed, taking, [kept, second, third], BENELUX=kept["Sku"], EURO=third["Sku"])
        await stack.sync()
        await assert_stands(stack, taking, third["Sku"])
        feed.remove_variant(keeping, kept["Sku"])
        await stack.sync()
        await assert_stands(stack, taking, kept["Sku"])


async def test_a_family_that_loses_its_first_variant_in_the_same_run_gets_another(make_stack: MakeStack) -> None:
    """What belongs to the first by SKU is written for the second, which came earlier."""
    feed = plain_feed(families=8)
    late, early = skus_of(feed)[:2]
    moving, *others = children_of(feed, early)
    lists(feed, early, [moving, *others], BENELUX=moving["Sku"], EURO=others[1]["Sku"])
    lists(feed, late, [moving, *children_of(feed, late)[1:]], BENELUX=moving["Sku"])
    async with make_stack(feed) as stack:
        stack.server.faults.add(f"*/{late}.json", "slow", seconds=1.5)
        await stack.sync()
        await assert_stands(stack, late, moving["Sku"])
        await assert_stands(stack, early, others[1]["Sku"])
        run = await stack.run("A23")
        assert (run["variants_created"], run["variants_updated"]) == (8 * 3 - 1, 2)
        assert [(row["kind"], row["fields"]) for row in await told_of(stack, others[1]["Sku"])] == [
            ("created", []),
            ("updated", ["isPrimary"]),
        ]
        (_, stepped) = await told_of(stack, others[1]["Sku"])
        assert (stepped["product_sku"], stepped["old"], stepped["new"]) == (
            early,
            {"isPrimary": False},
            {"isPrimary": True},
        )
        before = len(await numbered(stack))
        await stack.sync("A23", force=True)
        assert len(await numbered(stack)) == before, "each family's own job says the same"


async def test_a_family_whose_variants_all_move_away_has_none_and_gets_one_with_the_next(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8, variants=2)
    left, taking = skus_of(feed)[:2]
    moving, own = children_of(feed, left), children_of(feed, taking)
    async with make_stack(feed) as stack:
        await stack.sync()
        lists(feed, left, own)
        lists(feed, taking, [*own, *moving])
        await stack.sync()
        assert await stack.rows(STANDING, sku=left) == []
        await assert_stands(stack, taking, own[0]["Sku"])
        lists(feed, taking, moving)
        await stack.sync()
        await assert_stands(stack, left, own[0]["Sku"])
        await assert_stands(stack, taking, moving[0]["Sku"])


async def test_a_family_that_comes_back_without_its_first_variant_has_one_and_not_two(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    family = skus_of(feed)[0]
    first, second, _ = children_of(feed, family)
    lists(feed, family, children_of(feed, family))
    async with make_stack(feed) as stack:
        await stack.sync()
        feed.hide_family(family)
        await stack.sync()
        assert await stack.rows(STANDING, sku=family) == [{"sku": first["Sku"], "status": "discontinued"}]
        before = len(await numbered(stack))
        feed.restore_family(family)
        feed.remove_variant(family, first["Sku"])
        await stack.sync()
        await assert_stands(stack, family, second["Sku"])
        assert [row["fields"] for row in await told_of(stack, first["Sku"], before)] == [["isPrimary"]]


async def test_a_family_whose_first_variants_document_is_gone_has_another_at_once(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    kid = children_of(feed, skus_of(feed)[0])[0]
    for name in ("L-1", "L-2", "L-3"):
        feed.set_document("A23", f"{name}.json", {**kid, "Sku": name, "ANumber": "L", "SupplierSku": name})
    async with make_stack(feed) as stack:
        await stack.sync()
        await assert_stands(stack, "L", "L-1")
        feed.hide_family("L-1")
        run = HeldRun(stack)
        jobs = await run.begin()
        await assert_stands(stack, "L", "L-2")
        await run.work(jobs)
        await assert_stands(stack, "L", "L-2")
        gone = (await told_of(stack, "L-1"))[-2:]
        assert [(row["kind"], row["fields"]) for row in gone] == [("discontinued", []), ("updated", ["isPrimary"])]


async def test_a_first_variant_that_goes_while_another_stands_is_said_to_step_back(make_stack: MakeStack) -> None:
    feed = plain_feed(families=8)
    family = skus_of(feed)[0]
    first, second, third = children_of(feed, family)
    lists(feed, family, [first, second, third], BENELUX=first["Sku"])
    async with make_stack(feed) as stack:
        await stack.sync()
        before = len(await numbered(stack))
        lists(feed, family, [second, third], BENELUX=second["Sku"])
        await stack.sync()
        lists(feed, family, [first, second, third], BENELUX=second["Sku"])
        await stack.sync()
        gone, back = await told_of(stack, first["Sku"], before)
        assert (gone["kind"], gone["fields"], gone["old"], gone["new"]) == (
            "discontinued",
            ["isPrimary"],
            {"isPrimary": True},
            {"isPrimary": False},
        )
        assert (back["kind"], back["fields"]) == ("reactivated", [])
        await assert_stands(stack, family, second["Sku"])


async def test_a_first_variant_that_waits_for_a_doubted_document_steps_back_beside_its_familys_new_one(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=8, variants=2)
    left, doubted = skus_of(feed)[:2]
    async with make_stack(feed) as stack:
        moving, kept = children_of(feed, left)
        lists(feed, left, [moving, kept], BENELUX=moving["Sku"])
        await stack.sync()
        before = len(await numbered(stack))
        lists(feed, left, [kept], BENELUX=kept["Sku"])
        lists(feed, doubted, [moving])
        await stack.sync()
        assert [problem["kind"] for problem in await stack.problems("A23")] == ["suspect"]
        await assert_stands(stack, left, kept["Sku"])
        assert (await stack.run("A23"))["variants_updated"] == 2
        await stack.sync()
        await assert_stands(stack, left, kept["Sku"])
        await assert_stands(stack, doubted, moving["Sku"])
        assert [row["fields"] for row in await told_of(stack, moving["Sku"], before)] == [
            ["isPrimary"],
            ["productSku", "isPrimary"],
        ]
