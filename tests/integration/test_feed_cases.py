"""CASES.md A, and the rules of ENGINE.md 3 to 6, against a real feed, database and store."""

from __future__ import annotations

from typing import Any

from app.samplefeed import FeedSpec, SampleFeed
from app.sync.operating.dry_run import dry_run
from app.sync.operating.start import StartRequest
from tests.conftest import MakeStack
from tests.support.stack import Stack

Json = dict[str, Any]


def plain_feed(count: int = 1, families: int = 3, variants: int = 3) -> SampleFeed:
    """Families of an ordinary shape alone."""
    return SampleFeed(FeedSpec.small(count=count, families=families, variants=variants, oddities=False))


def first_sku(feed: SampleFeed, supplier: str = "A23") -> str:
    return next(feed.entries(supplier)).file_name.removesuffix(".json")


async def numbered(stack: Stack) -> list[Json]:
    return await stack.rows("SELECT kind, entity, sku, product_sku, fields, old, new FROM changes ORDER BY id")


async def active(stack: Stack, family: str) -> int:
    return int(
        await stack.value(
            """SELECT count(*) FROM variants v JOIN products p ON p.id = v.product_id
            WHERE p.sku = :sku AND v.status = 'active'""",
            sku=family,
        )
    )


async def test_a_failed_family_and_a_dead_picture_are_there_after_the_next_sync(make_stack: MakeStack) -> None:
    """A5."""
    feed = plain_feed()
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        other = [entry.file_name.removesuffix(".json") for entry in feed.entries("A23")][1]
        dead = feed.document(other)["ChildProducts"][0]["ProductDetails"]["nl"]["Image"]["Url"]
        stack.server.faults.add(f"*/{sku}.json", "status", status=500)
        stack.server.faults.add("*" + dead.removeprefix(feed.pictures_origin), "status", status=404)
        await stack.sync()
        run = await stack.run("A23")
        assert run["status"] == "completed_with_errors"
        assert (run["documents_failed"], run["images_failed"]) == (1, 1)
        problems = {(problem["stage"], problem["severity"]) for problem in await stack.problems("A23")}
        assert problems == {("supplier", "error"), ("image", "error")}
        assert await active(stack, sku) == 0

        stack.server.faults.clear()
        stack.server.log.reset()
        await stack.sync()
        assert (await stack.run("A23"))["status"] == "completed"
        assert await active(stack, sku) == 3
        assert stack.server.log.counts["document"] == 1
        assert stack.server.log.counts["manifest"] == 1
        assert await stack.value("SELECT count(*) FROM addresses WHERE state <> 'stored'") == 0
        shows = await stack.rows("SELECT url FROM addresses WHERE url = :url AND state = 'stored'", url=dead)
        assert shows


async def test_most_children_missing_for_a_day_are_not_believed_at_once(make_stack: MakeStack) -> None:
    """A2."""
    feed = plain_feed(families=1, variants=20)
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        await stack.sync()
        feed.keep_variants(sku, 2)
        await stack.sync()
        assert await active(stack, sku) == 20
        assert [problem["kind"] for problem in await stack.problems("A23")] == ["suspect"]
        feed.revert(sku)
        feed.keep_variants(sku, 19)
        await stack.sync()
        assert await active(stack, sku) == 19
        feed.keep_variants(sku, 0)
        await stack.sync()
        assert await active(stack, sku) == 19
        feed.revert(sku)
        await stack.sync()
        assert await active(stack, sku) == 20
        kinds = [
            (row["kind"], row["entity"])
            for row in await numbered(stack)
            if row["kind"] in {"discontinued", "reactivated"}
        ]
        assert kinds == [("discontinued", "variant"), ("reactivated", "variant")]


async def test_what_stays_missing_is_believed_when_it_was_read_once_more(make_stack: MakeStack) -> None:
    feed = plain_feed(families=1, variants=6)
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        await stack.sync()
        feed.keep_variants(sku, 1)
        await stack.sync()
        assert await active(stack, sku) == 6
        stack.server.log.reset()
        await stack.sync()
        assert stack.server.log.counts["document"] == 1
        assert await active(stack, sku) == 1
        stack.server.log.reset()
        await stack.sync()
        assert dict(stack.server.log.counts) == {"manifest": 1}


async def test_an_old_body_under_a_new_hash_is_read_again_in_the_next_run(make_stack: MakeStack) -> None:
    """A4."""
    feed = plain_feed()
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        await stack.sync()
        before = await stack.rows("SELECT variant_id, tiers FROM prices ORDER BY variant_id")
        feed.change_price(sku, 2.0)
        stack.server.faults.add(f"*/{sku}.json", "stale", times=1)
        await stack.sync()
        assert await stack.rows("SELECT variant_id, tiers FROM prices ORDER BY variant_id") == before
        await stack.sync()
        assert await stack.rows("SELECT variant_id, tiers FROM prices ORDER BY variant_id") != before
        stack.server.log.reset()
        await stack.sync()
        assert dict(stack.server.log.counts) == {"manifest": 1}


async def test_a_changed_price_is_the_only_change(make_stack: MakeStack) -> None:
    feed = plain_feed()
    async with make_stack(feed) as stack:
        await stack.sync()
        before = len(await numbered(stack))
        feed.change_price(first_sku(feed), 1.5)
        stack.server.log.reset()
        await stack.sync()
        assert stack.server.log.counts["document"] == 1
        assert stack.server.log.counts["picture"] == 0
        later = (await numbered(stack))[before:]
        assert {(row["kind"], row["entity"], tuple(row["fields"])) for row in later} == {
            ("updated", "variant", ("prices",))
        }
        run = await stack.run("A23")
        assert (run["variants_updated"], run["variants_unchanged"], run["manifest_changed"]) == (3, 0, 1)


async def test_a_rename_names_every_language(make_stack: MakeStack) -> None:
    feed = plain_feed()
    async with make_stack(feed) as stack:
        await stack.sync()
        before = len(await numbered(stack))
        feed.rename(first_sku(feed))
        await stack.sync()
        later = (await numbered(stack))[before:]
        assert all(field.startswith("name.") for row in later for field in row["fields"])
        assert {row["entity"] for row in later} == {"product", "variant"}


async def test_a_moved_hash_with_the_same_content_writes_nothing(make_stack: MakeStack) -> None:
    feed = plain_feed()
    async with make_stack(feed) as stack:
        await stack.sync()
        before = len(await numbered(stack))
        rows = await stack.rows("SELECT sku, updated_at FROM variants ORDER BY sku")
        feed.rehash(first_sku(feed))
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["documents_fetched"], run["documents_unchanged"]) == ("completed", 1, 1)
        assert len(await numbered(stack)) == before
        assert await stack.rows("SELECT sku, updated_at FROM variants ORDER BY sku") == rows


async def test_documents_that_say_nothing_new_are_counted_each_and_only_where_they_were_fetched(
    make_stack: MakeStack,
) -> None:
    feed = plain_feed(families=3, variants=1)
    skus = [entry.file_name.removesuffix(".json") for entry in feed.entries("A23")]
    for sku in skus:
        feed.edit(sku, make_variant_alone)
    async with make_stack(feed) as stack:
        await stack.sync()
        for sku in skus:
            feed.rehash(sku)
        for reparse, counted in ((False, (3, 3)), (True, (0, 0))):
            await stack.sync(reparse=reparse)
            run = await stack.run("A23")
            assert run["families_completed"] == 1
            assert (run["documents_fetched"], run["documents_unchanged"]) == counted


def make_variant_alone(document: Any) -> None:
    """A document that is one variant of a family that three make."""
    document.update(ProductDetails=document["ChildProducts"][0]["ProductDetails"], ChildProducts=[], ANumber="FAM1")


async def test_one_removed_family_is_discontinued_and_comes_back(make_stack: MakeStack) -> None:
    feed = plain_feed(families=4)
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        await stack.sync()
        feed.remove_family(sku)
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["manifest_removed"], run["variants_discontinued"]) == ("completed", 1, 3)
        assert await active(stack, sku) == 0
        assert await stack.value("SELECT status FROM products WHERE sku = :sku", sku=sku) == "discontinued"
        feed.restore_family(sku)
        (foreseen,) = await dry_run(stack.services, StartRequest(supplier="A23"))
        assert foreseen.skus == {"new": [sku], "changed": [], "removed": []}
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["variants_reactivated"]) == ("completed", 3)
        assert {name: run[f"manifest_{name}"] for name in foreseen.manifest} == foreseen.manifest
        assert await stack.value("SELECT status FROM products WHERE sku = :sku", sku=sku) == "active"


async def test_a_supplier_that_is_gone_from_the_manifest_trips_the_guard(make_stack: MakeStack) -> None:
    feed = plain_feed(count=2, families=8)
    async with make_stack(feed) as stack:
        await stack.sync()
        feed.hide_supplier("A23")
        await stack.sync()
        run = await stack.run("A23")
        assert run["status"] == "completed_with_errors"
        assert run["guard"]["wouldRemove"] == 8
        assert run["error"]
        assert await stack.value("SELECT count(*) FROM products WHERE status = 'active'") == 16


async def test_a_manifest_cut_in_its_last_line_removes_nothing(make_stack: MakeStack) -> None:
    """A8."""
    feed = plain_feed(families=12)
    async with make_stack(feed) as stack:
        await stack.sync()
        changes = len(await numbered(stack))
        whole = feed.manifest()
        lines = whole.splitlines(keepends=True)
        feed.set_manifest(b"".join(lines[:10]) + lines[10][: len(lines[10]) // 2])
        await stack.sync()
        run = await stack.run("A23")
        assert run["status"] == "completed_with_errors"
        assert "cut" in run["error"]
        feed.set_manifest(None)
        await stack.sync()
        assert (await stack.run("A23"))["status"] == "completed"
        assert len(await numbered(stack)) == changes


async def test_what_a_document_no_longer_says_is_gone(make_stack: MakeStack) -> None:
    """A6."""
    feed = plain_feed(families=2)
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        await stack.sync()
        before = len(await numbered(stack))

        def lessen(document: Json) -> None:
            child = document["ChildProducts"][0]
            for region in child["ProductPriceCountryBased"].values():
                region["RecommendedSellingPrice"] = region["RecommendedSellingPrice"][:2]
            for details in child["ProductDetails"].values():
                details["MediaGalleryImages"] = (details["MediaGalleryImages"] or [])[1:2]
            child["ProductDetails"].pop("de")
            child["ImprintPositions"][0]["ImprintOptions"].pop()

        feed.edit(sku, lessen)
        await stack.sync()
        later = [row for row in (await numbered(stack))[before:] if row["entity"] == "variant"]
        fields = {field for row in later for field in row["fields"]}
        assert {"prices", "images", "imprintPositions", "name.de", "description.de"} <= fields
        stack.server.log.reset()
        count = len(await numbered(stack))
        await stack.sync()
        assert dict(stack.server.log.counts) == {"manifest": 1}
        assert len(await numbered(stack)) == count


async def test_the_same_sku_at_two_suppliers_is_two_products(make_stack: MakeStack) -> None:
    """A3."""
    feed = plain_feed(count=2, families=1)
    async with make_stack(feed) as stack:
        document = feed.document(first_sku(feed))
        document["Sku"], document["ChildProducts"] = "100804", document["ChildProducts"][:1]
        document["ChildProducts"][0]["Sku"] = "100804-001"
        feed.set_document("A23", "100804.json", {**document, "ANumber": "A23"})
        feed.set_document("A360", "100804.json", {**document, "ANumber": "A360"})
        await stack.sync()
        assert await stack.value("SELECT count(*) FROM products WHERE sku = '100804'") == 2
        assert await stack.value("SELECT count(*) FROM variants WHERE sku = '100804-001'") == 2


async def test_a_child_that_two_documents_claim_stays_and_is_taken_over_when_dropped(make_stack: MakeStack) -> None:
    """ENGINE.md 5."""
    feed = plain_feed(families=3)
    async with make_stack(feed) as stack:
        skus = sorted(entry.file_name.removesuffix(".json") for entry in feed.entries("A23"))
        await stack.sync()
        shared = feed.document(skus[1])["ChildProducts"][0]
        feed.edit(skus[0], lambda document: document["ChildProducts"].append(shared))
        await stack.sync()
        owner = "SELECT p.sku FROM variants v JOIN products p ON p.id = v.product_id WHERE v.sku = :sku"
        assert await stack.value(owner, sku=shared["Sku"]) == skus[1]
        feed.remove_variant(skus[1], shared["Sku"])
        await stack.sync()
        assert await stack.value(owner, sku=shared["Sku"]) == skus[0]
        assert await stack.value("SELECT status FROM variants WHERE sku = :sku", sku=shared["Sku"]) == "active"


async def test_a_new_child_that_two_new_documents_claim_goes_to_the_first_by_sku(make_stack: MakeStack) -> None:
    feed = plain_feed(families=3)
    async with make_stack(feed) as stack:
        skus = sorted(entry.file_name.removesuffix(".json") for entry in feed.entries("A23"))
        shared = feed.document(skus[2])["ChildProducts"][0]
        feed.edit(skus[0], lambda document: document["ChildProducts"].append(shared))
        stack.server.faults.add(f"*/{skus[0]}.json", "slow", seconds=1.0)
        await stack.sync()
        owner = "SELECT p.sku FROM variants v JOIN products p ON p.id = v.product_id WHERE v.sku = :sku"
        assert await stack.value(owner, sku=shared["Sku"]) == skus[0]
        assert (await stack.run("A23"))["status"] == "completed"


async def test_all_documents_forbidden_fails_the_run_and_loses_nothing(make_stack: MakeStack) -> None:
    """A12."""
    feed = plain_feed(families=12)
    async with make_stack(feed) as stack:
        await stack.sync()
        for entry in list(feed.entries("A23")):
            feed.rehash(entry.file_name.removesuffix(".json"))
        stack.server.faults.add("document", "status", status=403)
        await stack.sync()
        run = await stack.run("A23")
        assert run["status"] == "failed"
        assert "403" in run["error"]
        for entry in list(feed.entries("A23"))[:6]:
            feed.hide_family(entry.file_name.removesuffix(".json"))
        await stack.sync(force=True)
        run = await stack.run("A23")
        assert (run["status"], run["guard"]["wouldRemove"]) == ("failed", 6)
        assert "403" in run["error"], "the commonest reason, not the guard's"
        assert await stack.value("SELECT count(*) FROM products WHERE status = 'active'") == 12


async def test_an_empty_manifest_fails_the_run(make_stack: MakeStack) -> None:
    async with make_stack(plain_feed()) as stack:
        await stack.sync()
        stack.feed.set_manifest(b"")
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["guard"]) == ("failed", None)
        assert run["error"]


async def test_nearly_equal_identifiers_stay_apart(make_stack: MakeStack) -> None:
    """A7."""
    feed = plain_feed(families=1)
    async with make_stack(feed) as stack:
        document = feed.document(first_sku(feed))
        base = document["ChildProducts"][0]
        eans: list[Any] = ["0012345678905", 8712345678906, "8.71E+12", "0012345678905"]
        names = ["A23-1 ", "a23-1", "A23-1\u00a0x", "A23-2"]
        document["ChildProducts"] = [{**base, "Sku": sku, "Ean": ean} for sku, ean in zip(names, eans, strict=True)]
        feed.set_document("A23", first_sku(feed) + ".json", document)
        await stack.sync()
        rows = await stack.rows("SELECT sku, content ->> 'ean' AS ean FROM variants ORDER BY position")
        assert [(row["sku"], row["ean"]) for row in rows] == [
            ("A23-1", "0012345678905"),
            ("a23-1", "8712345678906"),
            ("A23-1\u00a0x", None),
            ("A23-2", "0012345678905"),
        ]
