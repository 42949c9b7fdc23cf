"""Pictures settled at the same time, by several jobs, families and suppliers (ENGINE.md 6; decision 0007)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.jobs.definitions import PRODUCT_FAMILY, SUPPLIER_SYNC
from app.persistence.ledger import ClaimedJob
from app.persistence.media import StoredPicture
from app.sync.image.settling import PictureEnd, Settled, commit_settled
from tests.conftest import MakeStack
from tests.support.image_jobs import HeldRun
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.picture_readers import seen, told, two_pictures
from tests.support.stack import Stack


def settled(job: ClaimedJob, seed: int) -> Settled:
    """A job whose bytes are in the store."""
    sha256 = bytes([seed]) * 32
    key = f"{sha256.hex()[:2]}/{sha256.hex()[2:4]}/{sha256.hex()}.jpg"
    picture = StoredPicture(int(job.args["address_id"]), sha256, key, "image/jpeg", 1, 1, 1, None, None)
    return Settled(job, picture.address_id, picture, sha256.hex())


async def ended(stack: Stack, batch: Sequence[Settled]) -> list[PictureEnd]:
    return await stack.services.database.transact(lambda db: commit_settled(db, batch))


async def test_two_jobs_that_settle_the_last_two_addresses_at_once_show_the_generation(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    """The second commit begins while the first is still open, and sees what it wrote."""
    feed, _, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        first, second = await HeldRun(stack).start()
        async with stack.services.database.begin() as db:
            assert await commit_settled(db, [settled(first, 1)]) == ["ended"]
            late = asyncio.create_task(ended(stack, [settled(second, 2)]))
            await asyncio.sleep(0.2)
            assert not late.done()
        assert await late == ["ended"]
        assert await told(stack) == [(variant, "created", ()), (variant, "updated", ("images",))]
        assert await stack.value("SELECT shown_generation = generation FROM variants") is True
        assert (await stack.run("A23"))["status"] == "completed"


@pytest.mark.parametrize("image_first", [True, False])
async def test_a_family_that_names_an_address_while_it_is_settled_sees_it_or_is_seen(
    make_stack: MakeStack, origin: PictureOrigin, image_first: bool
) -> None:
    """The other supplier's family names the address while this one's image commit is open, or the other way round."""
    feed = bare_feed(count=2)
    url = origin.put("/a", jpeg(1))
    for sku in skus_of(feed):
        show(feed, sku, [url])
    async with make_stack(feed) as stack:
        (job,) = await HeldRun(stack).start("A23")
        other = HeldRun(stack)
        if image_first:
            async with stack.services.database.begin() as db:
                await commit_settled(db, [settled(job, 1)])
                starting = asyncio.create_task(other.start("A360"))
                await asyncio.sleep(0.5)
                assert not starting.done()
            await other.work(await starting)
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(other.start("A360"))
                group.create_task(ended(stack, [settled(job, 1)]))
        assert await stack.value("SELECT count(*) FROM variants WHERE shown_generation = generation") == 2
        assert [len(pictures) for pictures in (await seen(stack)).values()] == [1, 1]


async def test_a_claim_that_is_lost_leaves_the_rest_of_its_batch_alone(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    feed, _, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        first, second = await HeldRun(stack).start()
        async with stack.services.database.begin() as db:
            await db.exec_driver_sql(f"UPDATE jobs SET claim = gen_random_uuid() WHERE id = '{second.id}'")
        assert await ended(stack, [settled(first, 1), settled(second, 2)]) == ["ended", "lost"]
        run = await stack.run("A23")
        assert (run["open_jobs"], run["images_uploaded"], run["images_deduplicated"]) == (1, 1, 0)
        assert await stack.value("SELECT count(*) FROM addresses WHERE state = 'pending'") == 1
        assert list(await seen(stack)) == [variant]


async def test_of_equal_bytes_in_one_batch_one_is_uploaded_and_the_results_say_which(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    feed = bare_feed()
    show(feed, skus_of(feed)[0], [origin.url(f"/{number}") for number in range(5)])
    async with make_stack(feed) as stack:
        jobs = await HeldRun(stack).start()
        await ended(stack, [settled(job, 1 if index < 3 else 2) for index, job in enumerate(jobs)])
        run = await stack.run("A23")
        assert (run["status"], run["images_uploaded"], run["images_deduplicated"]) == ("completed", 2, 3)
        results = await stack.rows(
            """SELECT result -> 'deduplicated' AS known FROM jobs WHERE queue = 'image-upload'
            ORDER BY args -> 'address_id'"""
        )
        assert [row["known"] for row in results] == [False, True, True, False, True]


async def test_four_suppliers_that_share_their_pictures_lock_each_other_out_of_nothing(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    """B6: no conflict reaches a job, everything is shown, every picture is uploaded once."""
    feed = bare_feed(count=4, families=4, variants=5)
    urls = [origin.put(f"/{number}", jpeg(number)) for number in range(40)]
    for index, sku in enumerate(skus_of(feed)):
        show(feed, sku, *([urls[(index * 7 + child * 3 + at) % 40] for at in range(6)] for child in range(5)))
    async with make_stack(feed, concurrency_families=8, concurrency_images=40, database_pool_size=20) as stack:
        for _ in range(2):
            async with asyncio.TaskGroup() as group:
                for supplier in feed.suppliers():
                    group.create_task(stack.sync(supplier, force=True))
        runs = await stack.rows("SELECT * FROM runs")
        assert {run["status"] for run in runs} == {"completed"}
        assert sum(run["images_uploaded"] for run in runs) == await stack.value("SELECT count(*) FROM media")
        assert await stack.value("SELECT max(attempts) FROM jobs") == 0
        assert await stack.value("SELECT count(*) FROM variants WHERE shown_generation <> generation") == 0
        assert {len(pictures) for pictures in (await seen(stack)).values()} == {6}
        log = await stack.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert log == [{"deadlocks": 0}]


async def test_a_held_run_needs_no_jobs_of_its_own(make_stack: MakeStack) -> None:
    """The tests above rest on it: what it does not work off stays claimed."""
    async with make_stack(bare_feed()) as stack:
        run = HeldRun(stack)
        assert await run.start() == []
        assert await run.claim(SUPPLIER_SYNC) == []
        assert await run.claim(PRODUCT_FAMILY) == []
        assert (await stack.run("A23"))["status"] == "completed"
