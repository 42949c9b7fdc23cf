"""Pictures are stored once, asked again only when told to, and put back when they are missing; on every store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.samplefeed import SampleFeed
from app.sync.image import stage
from tests.conftest import MakeStack
from tests.support.counting_store import CountingStore, counted
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY
from tests.support.stack import Stack

Json = dict[str, Any]
LINKS = """SELECT v.sku, s.generation, s.position, s.address_id, a.media_id FROM shown_pictures s
JOIN variants v ON v.id = s.variant_id JOIN addresses a ON a.id = s.address_id ORDER BY 1, 2, 3"""


@pytest.fixture(params=["local", "moto", "rclone"])
def store_settings(request: pytest.FixtureRequest) -> Json:
    if request.param == "local":
        return {}
    return {
        "s3_endpoint_url": request.getfixturevalue(f"{request.param}_endpoint"),
        "s3_bucket": BUCKET,
        "s3_access_key_id": ACCESS_KEY,
        "s3_secret_access_key": SECRET_KEY,
        "s3_region": "us-east-1",
    }


async def emptied(store: CountingStore) -> None:
    for key in await store.keys():
        await store.inner.delete(key)


def ten_addresses(origin: PictureOrigin, body: bytes) -> SampleFeed:
    """Three suppliers that show the same bytes at ten addresses: four, three, three."""
    feed = bare_feed(count=3, families=1, variants=4)
    urls = [origin.put(f"/same-{number}.jpg", body) for number in range(10)]
    for supplier, mine in zip(feed.suppliers(), (urls[:4], urls[4:7], urls[7:]), strict=True):
        show(feed, skus_of(feed, supplier)[0], *([url] for url in mine))
    return feed


async def image_results(stack: Stack) -> list[Json]:
    return await stack.rows(
        "SELECT (result ->> 'deduplicated')::boolean AS deduplicated FROM jobs WHERE queue = 'image-upload'"
    )


async def test_no_picture_waits_for_itself_nor_for_one_with_its_bytes(
    make_stack: MakeStack, origin: PictureOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit waits while others are on their way to it, and not for those that are there."""
    monkeypatch.setattr(stage, "LINGER_S", 3600.0)
    async with make_stack(ten_addresses(origin, jpeg(1))) as stack, asyncio.timeout(60):
        await stack.sync()
        assert await stack.rows("SELECT count(*) AS n FROM addresses WHERE state = 'stored'") == [{"n": 10}]


async def test_the_same_bytes_at_ten_addresses_are_one_object_with_ten_links(
    make_stack: MakeStack, origin: PictureOrigin, store_settings: Json
) -> None:
    async with make_stack(ten_addresses(origin, jpeg(1)), **store_settings) as plain:
        stack, store = counted(plain)
        await emptied(store)
        await stack.sync()
        assert len(store.puts) == 1
        assert await store.keys() == store.puts
        assert sum(origin.given.values()) == 10
        assert len(await stack.rows(LINKS)) == 10
        assert await stack.value("SELECT count(DISTINCT media_id) FROM addresses WHERE state = 'stored'") == 1
        (sums,) = await stack.rows(
            "SELECT sum(images_total) AS of, sum(images_uploaded) AS up, sum(images_deduplicated) AS known FROM runs"
        )
        assert (sums["of"], sums["up"], sums["known"]) == (10, 1, 9)
        assert sorted(row["deduplicated"] for row in await image_results(stack)) == [False] + [True] * 9

        origin.forget()
        await stack.sync()
        assert not origin.asked

        await stack.sync(force=True)
        assert (sum(origin.given.values()), sum(origin.confirmed.values())) == (0, 10)

        origin.forget()
        origin.put("/same-3.jpg", jpeg(1), etag="2")
        await stack.sync(force=True)
        assert (origin.given, sum(origin.confirmed.values())) == ({"/same-3.jpg": 1}, 9)
        origin.forget()
        await stack.sync(force=True)
        assert (sum(origin.given.values()), sum(origin.confirmed.values())) == (0, 10)
        assert len(store.puts) == 1
        assert await stack.value("SELECT count(*) FROM changes WHERE kind = 'updated'") == await stack.value(
            "SELECT count(*) FROM changes WHERE kind = 'updated' AND fields = '{images}'"
        )


async def test_three_suppliers_at_once_still_count_one_upload(make_stack: MakeStack, origin: PictureOrigin) -> None:
    async with make_stack(ten_addresses(origin, jpeg(1))) as plain:
        stack, store = counted(plain)
        async with asyncio.TaskGroup() as group:
            for supplier in stack.feed.suppliers():
                group.create_task(stack.sync(supplier))
        assert await stack.value("SELECT sum(images_uploaded) FROM runs") == 1
        assert await stack.value("SELECT sum(images_deduplicated) FROM runs") == 9
        assert sum(not row["deduplicated"] for row in await image_results(stack)) == 1
        assert len(await store.keys()) == 1


async def test_the_same_address_in_three_suppliers_at_once_is_one_upload(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    feed = bare_feed(count=3, families=1, variants=2)
    url = origin.put("/shared.jpg", jpeg(5))
    for sku in skus_of(feed):
        show(feed, sku, [url], [url])
    async with make_stack(feed) as stack:
        async with asyncio.TaskGroup() as group:
            for supplier in feed.suppliers():
                group.create_task(stack.sync(supplier))
        assert await stack.value("SELECT sum(images_uploaded) FROM runs") == 1
        assert (
            await stack.value("SELECT count(*) FROM runs WHERE images_total <> images_uploaded + images_deduplicated")
            == 0
        )
        assert {run["status"] for run in await stack.rows("SELECT status FROM runs")} == {"completed"}


async def test_three_objects_deleted_in_the_store_are_three_puts_of_a_forced_sync(
    make_stack: MakeStack, origin: PictureOrigin, store_settings: Json
) -> None:
    """A9, and an empty new bucket."""
    feed = bare_feed(families=2, variants=3)
    urls = [origin.put(f"/{number}.jpg", jpeg(number)) for number in range(6)]
    for index, sku in enumerate(skus_of(feed)):
        show(feed, sku, urls[index * 3 : index * 3 + 2], urls[index * 3 + 1 : index * 3 + 3], [urls[index * 3]])
    async with make_stack(feed, **store_settings) as plain:
        stack, store = counted(plain)
        await emptied(store)
        await stack.sync()
        links, keys = await stack.rows(LINKS), sorted(await store.keys())
        changes = await stack.value("SELECT count(*) FROM changes")
        assert len(keys) == 6
        for key in keys[:3]:
            await store.inner.delete(key)
        store.puts.clear()
        origin.forget()
        await stack.sync(force=True)
        assert sorted(store.puts) == keys[:3]
        assert (sum(origin.given.values()), sum(origin.confirmed.values())) == (3, 3)
        await emptied(store)
        store.puts.clear()
        await stack.sync(force=True)
        assert sorted(store.puts) == keys
        assert await stack.rows(LINKS) == links
        assert await stack.value("SELECT count(*) FROM changes") == changes
        assert (await stack.run("A23"))["status"] == "completed"


async def test_other_bytes_behind_an_address_are_told_of_by_everything_that_shows_it(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    feed = bare_feed(count=2, families=1, variants=2)
    url, other = origin.put("/a.jpg", jpeg(1)), origin.put("/b.jpg", jpeg(2))
    for sku in skus_of(feed):
        show(feed, sku, [url], [other])
    async with make_stack(feed) as stack:
        await stack.sync()
        seen = await stack.value("SELECT max(id) FROM changes")
        origin.put("/a.jpg", jpeg(3), etag="2")
        await stack.sync("A23", force=True)
        told = await stack.rows("SELECT sku, kind, fields FROM changes WHERE id > :seen ORDER BY sku", seen=seen)
        shows = await stack.rows(
            """SELECT v.sku FROM shown_pictures s JOIN variants v ON v.id = s.variant_id
            JOIN addresses a ON a.id = s.address_id WHERE a.url = :url ORDER BY v.sku""",
            url=url,
        )
        assert [row["sku"] for row in told] == [row["sku"] for row in shows]
        assert len(told) == 2
        assert {(row["kind"], tuple(row["fields"])) for row in told} == {("updated", ("images",))}
        origin.forget()
        await stack.sync(force=True)
        assert not origin.given


async def test_what_was_not_asked_for_days_is_asked_conditionally(make_stack: MakeStack, origin: PictureOrigin) -> None:
    """IMAGE_REVALIDATE_DAYS."""
    feed = bare_feed(families=1, variants=2)
    old, new = origin.put("/old.jpg", jpeg(1)), origin.put("/new.jpg", jpeg(2))
    show(feed, skus_of(feed)[0], [old], [new])
    async with make_stack(feed, image_revalidate_days=30) as stack:
        await stack.sync()
        origin.forget()
        await stack.sync()
        assert not origin.asked
        async with stack.services.database.begin() as db:
            await db.exec_driver_sql(
                "UPDATE addresses SET checked_at = now() - interval '31 days' WHERE strpos(url, '/old.jpg') > 0"
            )
        await stack.sync()
        assert (origin.asked, origin.confirmed) == ({"/old.jpg": 1}, {"/old.jpg": 1})
        run = await stack.run("A23")
        assert (run["status"], run["images_total"], run["images_deduplicated"]) == ("completed", 1, 1)
        origin.forget()
        await stack.sync()
        assert not origin.asked


async def test_a_link_to_what_is_stored_is_no_check_of_it(make_stack: MakeStack, origin: PictureOrigin) -> None:
    """Else an address that more and more variants show would never be asked again."""
    feed = bare_feed(count=2, families=1, variants=1)
    url = origin.put("/a.jpg", jpeg(1))
    for sku in skus_of(feed):
        show(feed, sku, [url])
    async with make_stack(feed) as stack:
        await stack.sync("A23")
        before = await stack.value("SELECT checked_at FROM addresses")
        await stack.sync("A360")
        assert await stack.value("SELECT checked_at FROM addresses") == before


async def test_a_put_that_fails_leaves_the_bytes_to_the_next_job(make_stack: MakeStack, origin: PictureOrigin) -> None:
    """Of four jobs with the same bytes the first put fails: none says that they are stored, until one has put them."""
    async with make_stack(ten_addresses(origin, jpeg(1))) as plain:
        stack, store = counted(plain)
        store.away_for_puts = 1_000
        syncing = asyncio.create_task(stack.sync("A23"))
        while store.away_for_puts > 1_000 - 8:
            assert not syncing.done()
            await asyncio.sleep(0.02)
        assert await stack.value("SELECT count(*) FROM addresses WHERE state = 'stored'") == 0
        store.away_for_puts = 0
        await syncing
        run = await stack.run("A23")
        assert (run["status"], run["images_uploaded"], run["images_deduplicated"]) == ("completed", 1, 3)
        assert await store.keys() == store.puts
        assert await stack.value("SELECT max(attempts) FROM jobs") == 0


async def test_validators_that_cannot_be_kept_are_left_out(make_stack: MakeStack, origin: PictureOrigin) -> None:
    """A header of strange bytes fails neither its own picture nor those that end together with it."""
    feed = bare_feed(families=1, variants=3)
    urls = [origin.put(f"/{number}.jpg", jpeg(number)) for number in range(3)]
    origin.etags["/1.jpg"] = '"\xff\x01' + "x" * 2_000
    show(feed, skus_of(feed)[0], *([url] for url in urls))
    async with make_stack(feed) as stack:
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["images_uploaded"]) == ("completed", 3)
        assert await stack.value("SELECT count(*) FROM addresses WHERE etag IS NULL") == 1
        assert await stack.value("SELECT max(attempts) FROM jobs") == 0


async def test_addresses_that_are_pasted_lead_to_the_picture(make_stack: MakeStack, origin: PictureOrigin) -> None:
    """`//host/p.png`, and what shows nothing before and behind an address (CASES.md D6)."""
    feed = bare_feed(families=1, variants=4)
    url = origin.put("/1.jpg", jpeg(1))
    bare = url.removeprefix("http:")
    show(feed, skus_of(feed)[0], [bare], [f"\ufeff{url}", url], [f"\u200b{bare}\u200b"], [f"\u200e{url} \ufeff", bare])
    async with make_stack(feed) as stack:
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["images_total"], await stack.problems("A23")) == ("completed", 1, [])
        assert await stack.rows("SELECT url, state FROM addresses") == [{"url": url, "state": "stored"}]
        assert (origin.asked["/1.jpg"], origin.given["/1.jpg"]) == (1, 1)
