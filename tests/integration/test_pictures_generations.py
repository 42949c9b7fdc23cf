"""Which pictures readers see (ENGINE.md 6): never half old and half new, never none because one failed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from app.jobs.definitions import IMAGE_UPLOAD
from app.persistence import job_verbs, runs
from app.persistence.database import Connection
from app.sync.image.settling import PictureEnd, Settled, commit_settled
from app.sync.stage.children import add_image_jobs
from tests.conftest import MakeStack
from tests.support.image_jobs import HeldRun
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.picture_readers import hashes, newest_change, seen, told, two_pictures
from tests.support.stack import Stack


async def test_readers_see_the_old_pictures_until_all_the_new_ones_are_there(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    feed, sku, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        await stack.sync()
        old = hashes(origin, "/a", "/b")
        show(feed, sku, [origin.put("/c", jpeg(3)), origin.put("/d", jpeg(4))])
        run, before = HeldRun(stack), await newest_change(stack)
        first, second = await run.start()
        assert await seen(stack) == {variant: old}
        await run.work_one(first)
        assert await seen(stack) == {variant: old}
        assert ("updated", ("images",)) not in [entry[1:] for entry in await told(stack, before)]
        before = await newest_change(stack)
        await run.work_one(second)
        assert await seen(stack) == {variant: hashes(origin, "/c", "/d")}
        assert await told(stack, before) == [(variant, "updated", ("images",))]
        assert (await stack.run("A23"))["status"] == "completed"


async def test_a_first_generation_shows_what_is_there_and_tells_when_it_is_complete(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    feed, _, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        run = HeldRun(stack)
        first, second = await run.start()
        assert await seen(stack) == {}
        await run.work_one(second)
        assert await seen(stack) == {variant: hashes(origin, *origin.given)}
        assert await told(stack) == [(variant, "created", ())]
        await run.work_one(first)
        assert await seen(stack) == {variant: hashes(origin, "/a", "/b")}
        assert await told(stack) == [(variant, "created", ()), (variant, "updated", ("images",))]


async def test_what_failed_is_left_out_and_told_of_when_it_comes(make_stack: MakeStack, origin: PictureOrigin) -> None:
    feed, sku, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        await stack.sync()
        show(feed, sku, [origin.put("/c", jpeg(3)), origin.url("/gone")])
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["images_failed"], run["images_uploaded"]) == ("completed_with_errors", 1, 1)
        assert await seen(stack) == {variant: hashes(origin, "/c")}
        origin.put("/gone", jpeg(5))
        before = await newest_change(stack)
        await stack.sync()
        assert await seen(stack) == {variant: hashes(origin, "/c", "/gone")}
        assert await told(stack, before) == [(variant, "updated", ("images",))]
        assert (await stack.run("A23"))["status"] == "completed"


async def updated_at(stack: Stack) -> Any:
    """The product's and its variant's, as `updatedSince` of either list goes by them."""
    return await stack.rows("SELECT p.updated_at, v.updated_at AS variant FROM products p, variants v")


@pytest.mark.parametrize("known", [False, True])
async def test_another_address_of_the_same_bytes_is_no_change(
    make_stack: MakeStack, origin: PictureOrigin, known: bool
) -> None:
    feed, sku, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        await stack.sync()
        before, touched = await newest_change(stack), await updated_at(stack)
        moved = [origin.put("/a?token=2", jpeg(1)), origin.put("/b?token=2", jpeg(2))]
        if known:  # the new addresses are stored already, so that the family's own commit shows them
            await stack.sync()
            show(feed, sku, [origin.url("/a"), origin.url("/b"), *moved])
            await stack.sync()
            show(feed, sku, [origin.url("/a"), origin.url("/b")])
            await stack.sync()
            before, touched = await newest_change(stack), await updated_at(stack)
        show(feed, sku, moved)
        await stack.sync()
        assert await seen(stack) == {variant: hashes(origin, "/a", "/b")}
        assert await told(stack, before) == []
        assert await updated_at(stack) == touched
        assert await stack.value("SELECT variants_updated FROM runs ORDER BY created_at DESC LIMIT 1") == 0
        show(feed, sku, list(reversed(moved)))
        await stack.sync()
        assert await told(stack, before) == [(variant, "updated", ("images",))], "their places are another matter"
        moved_on, before_it = (await updated_at(stack))[0], touched[0]
        assert all(moved_on[whose] > before_it[whose] for whose in ("updated_at", "variant"))


async def test_history_has_the_pictures_from_before_and_after(make_stack: MakeStack, origin: PictureOrigin) -> None:
    feed, sku, _ = two_pictures(origin)
    a, b, c = (hashlib.sha256(jpeg(seed)).hexdigest() for seed in (1, 2, 3))

    def pictures(*found: str) -> list[dict[str, Any]]:
        roles = ["primary", *["gallery"] * 9]
        return [{"role": roles[at], "position": at, "sha256": sha256} for at, sha256 in enumerate(found)]

    async with make_stack(feed) as stack:
        await stack.sync()
        show(feed, sku, [origin.url("/a"), origin.put("/c", jpeg(3))])
        await stack.sync()
        show(feed, sku, [origin.url("/c")])
        await stack.sync()
        rows = await stack.rows("SELECT old, new FROM changes WHERE fields = ARRAY['images'] ORDER BY id")
        assert [(row["old"]["images"], row["new"]["images"]) for row in rows] == [
            ([], pictures(a, b)),
            (pictures(a, b), pictures(a, c)),
            (pictures(a, c), pictures(c)),
        ]


async def test_what_is_discontinued_takes_no_picture_before_it_returns(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    """A failed picture of an earlier run is retried by hand after its family went."""
    feed = bare_feed(families=3)
    sku = skus_of(feed)[0]
    show(feed, sku, [origin.put("/c", jpeg(3)), origin.url("/gone")])
    variant, document = str(feed.document(sku)["ChildProducts"][0]["Sku"]), feed.document(sku)
    async with make_stack(feed) as stack:
        await stack.sync()
        (failed,) = await stack.rows("SELECT id, run_id FROM jobs WHERE state = 'failed'")
        feed.remove_family(sku)
        await stack.sync()
        assert await stack.value("SELECT status FROM products WHERE sku = :sku", sku=sku) == "discontinued"
        origin.put("/gone", jpeg(5))
        origin.forget()
        run, before = HeldRun(stack), await newest_change(stack)
        run.run_id = str(failed["run_id"])
        await stack.services.database.transact(lambda db: job_verbs.reopen(db, IMAGE_UPLOAD, [failed["id"]]))
        await run.work(await run.claim(IMAGE_UPLOAD))
        assert await stack.value("SELECT state FROM jobs WHERE id = :id", id=failed["id"]) == "completed"
        assert not origin.asked
        assert await told(stack, before) == []
        feed.set_document("A23", f"{sku}.json", document)
        await stack.sync()
        assert (await seen(stack))[variant] == hashes(origin, "/c", "/gone")


async def test_a_variant_keeps_its_pictures_when_all_the_new_ones_fail(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    feed, sku, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        await stack.sync()
        old = hashes(origin, "/a", "/b")
        show(feed, sku, [origin.url("/gone")])
        await stack.sync()
        assert await seen(stack) == {variant: old}
        origin.put("/gone", jpeg(5))
        before = await newest_change(stack)
        await stack.sync()
        assert await seen(stack) == {variant: hashes(origin, "/gone")}
        assert await told(stack, before) == [(variant, "updated", ("images",))]


async def test_a_document_without_pictures_takes_them_away(make_stack: MakeStack, origin: PictureOrigin) -> None:
    feed, sku, _ = two_pictures(origin)
    async with make_stack(feed) as stack:
        await stack.sync()
        show(feed, sku)
        await stack.sync()
        assert await seen(stack) == {}


async def test_a_failed_picture_that_is_retried_by_hand_is_told_of(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    """The retry makes it pending again, in a generation that is shown already."""
    feed, sku, variant = two_pictures(origin)
    show(feed, sku, [origin.url("/a"), origin.url("/gone")])
    async with make_stack(feed) as stack:
        await stack.sync()
        assert await seen(stack) == {variant: hashes(origin, "/a")}
        origin.put("/gone", jpeg(5))
        async with stack.services.database.begin() as db:
            await db.exec_driver_sql("UPDATE addresses SET state = 'pending' WHERE state = 'failed'")
        before = await newest_change(stack)
        await stack.sync()
        assert await seen(stack) == {variant: hashes(origin, "/a", "/gone")}
        assert await told(stack, before) == [(variant, "updated", ("images",))]


async def test_an_address_that_nothing_names_any_more_is_not_asked(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    """An old job is retried after the world moved on: superseded, and the run's total says so."""
    feed, sku, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        run = HeldRun(stack)
        jobs = await run.start()
        async with stack.services.database.begin() as db:
            await db.exec_driver_sql("DELETE FROM shown_pictures WHERE position = 1")
        await run.work(jobs)
        assert origin.asked == {"/a": 1}
        ended = await stack.run("A23")
        assert (ended["status"], ended["images_total"], ended["images_uploaded"]) == ("completed", 1, 1)
        results = await stack.rows("SELECT result FROM jobs WHERE queue = 'image-upload'")
        assert sorted(row["result"].get("superseded", False) for row in results) == [False, True]
        assert await seen(stack) == {variant: hashes(origin, "/a")}
        assert sku


async def test_a_picture_that_is_named_again_in_the_run_that_dropped_it_is_asked(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    feed, _, _ = two_pictures(origin)
    async with make_stack(feed) as stack:
        run = HeldRun(stack)
        jobs = await run.start()
        gallery = await stack.value("SELECT address_id FROM shown_pictures WHERE position = 1")
        first, second = sorted(jobs, key=lambda job: bool(job.args["address_id"] == gallery))
        async with stack.services.database.begin() as db:
            await db.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM shown_pictures WHERE position = 1")
            await db.exec_driver_sql("DELETE FROM shown_pictures WHERE position = 1")
        await run.work([second])
        async with stack.services.database.begin() as db:
            await db.exec_driver_sql("INSERT INTO shown_pictures SELECT * FROM kept")
            again = await add_image_jobs(db, first, [int(first.args["address_id"]), int(second.args["address_id"])])
            await runs.book(db, run.run_id, Counter(images_total=len(again)), added=len(again))
        assert len(again) == 1
        await run.work([first, *await run.claim(IMAGE_UPLOAD)])
        assert origin.asked == {"/a": 1, "/b": 1}
        assert (await stack.run("A23"))["status"] == "completed"


async def test_a_picture_that_is_named_again_before_it_is_given_up_is_shown_in_the_same_run(
    make_stack: MakeStack, origin: PictureOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between an image job's look and its commit, another commit names the address and finds its job still open."""
    feed, _, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        run = HeldRun(stack)
        jobs = await run.start()
        gallery = await stack.value("SELECT address_id FROM shown_pictures WHERE position = 1")
        async with stack.services.database.begin() as db:
            await db.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM shown_pictures WHERE position = 1")
            await db.exec_driver_sql("DELETE FROM shown_pictures WHERE position = 1")
        written: list[list[str]] = []

        async def name_it_first(db: Connection, batch: Sequence[Settled], *others: Any) -> list[PictureEnd]:
            if any(item.superseded for item in batch) and not written:
                async with stack.services.database.begin() as other:
                    await other.exec_driver_sql("INSERT INTO shown_pictures SELECT * FROM kept")
                    written.append(await add_image_jobs(other, jobs[0], [gallery]))
            return await commit_settled(db, batch, *others)

        monkeypatch.setattr("app.sync.image.stage.commit_settled", name_it_first)
        await run.work(jobs)
        assert written == [[]], "its job was there"
        assert origin.asked == {"/a": 1, "/b": 1}
        ended = await stack.run("A23")
        assert (ended["status"], ended["images_total"], ended["images_uploaded"]) == ("completed", 2, 2)
        assert await seen(stack) == {variant: hashes(origin, "/a", "/b")}
