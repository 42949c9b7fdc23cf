"""`media verify` and `media orphans`: what they find, what they mend, and that no running job loses its object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from app.cli.media import media_app, read_age_s
from app.errors import OriginUnavailable, StoreDeclines
from app.images.store import media_key
from app.images.store_local import LocalStore
from app.persistence.media import StoredPicture
from app.sync.image.settling import Settled, commit_settled
from app.sync.image.stage import picture_limits
from app.sync.operating.media import find_orphans, verify_media
from tests.conftest import MakeStack
from tests.support.counting_store import CountingStore, counted
from tests.support.image_jobs import HeldRun
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.raw_http import answer
from tests.support.stack import Stack
from tests.support.worker_stack import environment_of

Json = dict[str, Any]


@pytest_asyncio.fixture
async def three(make_stack: MakeStack, origin: PictureOrigin) -> AsyncIterator[tuple[Stack, CountingStore, list[str]]]:
    """A stack that was synced, of three pictures; their keys in the order of their addresses."""
    feed = bare_feed(variants=3)
    show(feed, skus_of(feed)[0], *([origin.put(f"/{number}.jpg", jpeg(number))] for number in range(3)))
    async with make_stack(feed) as plain:
        stack, store = counted(plain)
        await stack.sync()
        keys = await stack.rows("SELECT m.key FROM media m JOIN addresses a ON a.media_id = m.id ORDER BY a.url")
        store.puts.clear()
        origin.forget()
        yield stack, store, [row["key"] for row in keys]


async def test_a_whole_store_is_whole(three: tuple[Stack, CountingStore, list[str]]) -> None:
    stack, _, _ = three
    report = await verify_media(stack.services)
    assert (report.checked, report.wrong, report.is_whole) == (3, [], True)


async def test_missing_and_wrong_objects_are_found_and_put_back(
    three: tuple[Stack, CountingStore, list[str]], origin: PictureOrigin
) -> None:
    stack, store, keys = three
    await store.inner.delete(keys[0])
    assert isinstance(store.inner, LocalStore)
    path = store.inner.path_of(keys[1])
    assert path is not None
    path.write_bytes(b"short")
    report = await verify_media(stack.services)
    assert {wrong.key: wrong.found.partition(" in ")[0] for wrong in report.wrong} == {
        keys[0]: "missing",
        keys[1]: "5 bytes",
    }
    assert not report.is_whole
    assert not origin.asked

    report = await verify_media(stack.services, repair=True)
    assert report.is_whole
    assert [wrong.repaired for wrong in report.wrong] == [True, True]
    assert sorted(store.puts) == sorted(keys[:2])
    assert origin.asked == {"/0.jpg": 1, "/1.jpg": 1}
    assert (await verify_media(stack.services)).wrong == []


async def test_a_host_that_wants_a_pause_is_waited_for(
    three: tuple[Stack, CountingStore, list[str]], origin: PictureOrigin
) -> None:
    stack, store, keys = three
    await store.inner.delete(keys[0])
    origin.scripts["/0.jpg"] = [[answer(status=429, Retry_After="6")]]
    with pytest.raises(OriginUnavailable):
        await stack.services.outbound.get(origin.url("/0.jpg"), limits=picture_limits(stack.settings))
    report = await verify_media(stack.services, repair=True)
    assert [wrong.repaired for wrong in report.wrong] == [True]
    assert origin.asked["/0.jpg"] == 2


async def test_what_cannot_be_repaired_says_why_and_the_rest_is(
    three: tuple[Stack, CountingStore, list[str]], origin: PictureOrigin
) -> None:
    stack, store, keys = three
    for key in keys:
        await store.inner.delete(key)
    del origin.bodies["/0.jpg"]
    origin.put("/1.jpg", jpeg(77))
    before = await stack.value("SELECT max(id) FROM changes")
    report = await verify_media(stack.services, repair=True)
    reasons = {wrong.key: wrong.reason for wrong in report.wrong}
    assert "404" in (reasons[keys[0]] or "")
    assert (reasons[keys[1]], reasons[keys[2]]) == (None, None)
    done = {wrong.key: (wrong.repaired, wrong.forgotten) for wrong in report.wrong}
    assert [done[key] for key in keys] == [(False, False), (False, True), (True, False)]
    assert not report.is_whole
    told = await stack.rows("SELECT kind, fields FROM changes WHERE id > :before", before=before)
    assert told == [{"kind": "updated", "fields": ["images"]}]
    assert await stack.value("SELECT count(*) FROM addresses WHERE state = 'stored'") == 3


async def test_a_picture_that_the_store_does_not_take_back_keeps_no_other(
    three: tuple[Stack, CountingStore, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, store, keys = three
    put = store.put

    async def decline_one(key: str, body: bytes, content_type: str) -> None:
        if key == keys[0]:
            raise StoreDeclines("the object store answered 400", for_itself=False)
        await put(key, body, content_type)

    monkeypatch.setattr(store, "put", decline_one)
    for key in keys:
        await store.inner.delete(key)
    report = await verify_media(stack.services, repair=True)
    done = {wrong.key: (wrong.repaired, wrong.reason) for wrong in report.wrong}
    assert done == {keys[0]: (False, "the object store answered 400"), keys[1]: (True, None), keys[2]: (True, None)}


async def test_what_no_address_leads_to_any_more_is_forgotten_and_found_no_more(
    three: tuple[Stack, CountingStore, list[str]], origin: PictureOrigin
) -> None:
    """Its address has other bytes by now: told by the repair, or by a forced sync before it."""
    stack, store, keys = three
    for key in keys[:2]:
        await store.inner.delete(key)
    origin.put("/0.jpg", jpeg(76), etag="2")
    await stack.sync(force=True)
    origin.put("/2.jpg", jpeg(77), etag="2")
    await store.inner.delete(keys[2])
    report = await verify_media(stack.services, repair=True)
    assert {wrong.key: (wrong.repaired, wrong.forgotten) for wrong in report.wrong} == {
        keys[0]: (False, True),
        keys[2]: (False, True),
    }
    assert report.is_whole
    again = await verify_media(stack.services)
    assert (again.checked, again.wrong) == (3, [])


async def test_nothing_that_is_shown_is_an_orphan(three: tuple[Stack, CountingStore, list[str]]) -> None:
    stack, store, keys = three
    report = await find_orphans(stack.services, older_than_s=0, delete=True)
    assert (report.addresses, report.media, report.objects, report.deleted) == (0, [], [], 0)
    assert sorted(await store.keys()) == sorted(keys)


async def test_orphans_are_listed_then_removed_and_what_is_young_stays(
    three: tuple[Stack, CountingStore, list[str]], origin: PictureOrigin
) -> None:
    stack, store, keys = three
    stray = media_key("ab" * 32, "jpg")
    await store.inner.put(stray, b"nobody recorded this", "image/jpeg")
    show(stack.feed, skus_of(stack.feed)[0], [origin.url("/0.jpg")], [origin.url("/0.jpg")])
    await stack.sync()

    young = await find_orphans(stack.services, older_than_s=3600, delete=True)
    assert (young.addresses, young.media, young.objects, young.deleted) == (0, [], [], 0)
    dry = await find_orphans(stack.services, older_than_s=0)
    assert (dry.addresses, dry.media, dry.objects, dry.deleted) == (2, sorted(keys[1:]), [stray], 0)
    assert len(await store.keys()) == 4

    gone = await find_orphans(stack.services, older_than_s=0, delete=True)
    assert (gone.addresses, gone.media, gone.objects, gone.deleted) == (2, sorted(keys[1:]), [stray], 3)
    assert await store.keys() == [keys[0]]
    assert await stack.value("SELECT count(*) FROM media") == 1
    assert await stack.value("SELECT count(*) FROM addresses") == 1

    show(stack.feed, skus_of(stack.feed)[0], *([origin.url(f"/{number}.jpg")] for number in range(3)))
    await stack.sync()
    assert sorted(await store.keys()) == sorted(keys)
    assert (await verify_media(stack.services)).is_whole
    assert (await stack.run("A23"))["status"] == "completed"


@dataclass
class PausingStore(CountingStore):
    """A store where the next look at an object, or the next removal, waits for the test."""

    looked: asyncio.Event | None = None
    removing: asyncio.Event | None = None
    go_on: asyncio.Event | None = None

    async def head(self, key: str) -> Any:
        found = await self.inner.head(key)
        if self.looked is not None and self.go_on is not None and not self.looked.is_set():
            self.looked.set()
            await self.go_on.wait()
        return found

    async def delete(self, key: str) -> None:
        if self.removing is not None and self.go_on is not None:
            self.removing.set()
            await self.go_on.wait()
        await super().delete(key)


def pausing(stack: Stack, store: CountingStore) -> tuple[Stack, PausingStore]:
    paused = PausingStore(store.inner, go_on=asyncio.Event())
    return replace(stack, services=replace(stack.services, store=paused)), paused


async def orphaned(stack: Stack, origin: PictureOrigin) -> None:
    """Nothing shows /1.jpg any more; then a new address of the same bytes is shown."""
    sku = skus_of(stack.feed)[0]
    show(stack.feed, sku, [origin.url("/0.jpg")], [], [origin.url("/2.jpg")])
    await stack.sync()
    show(stack.feed, sku, [origin.url("/0.jpg")], [origin.put("/again.jpg", jpeg(1))], [origin.url("/2.jpg")])


async def test_a_job_that_saw_the_object_puts_it_again_when_it_was_removed_before_the_commit(
    three: tuple[Stack, CountingStore, list[str]], origin: PictureOrigin
) -> None:
    """job: seen ── orphans: marked, deleted, over ── job: commit. The commit finds out and the job begins anew."""
    stack, counting, keys = three
    await orphaned(stack, origin)
    working, store = pausing(stack, counting)
    store.looked = asyncio.Event()
    run = HeldRun(working)
    (job,) = await run.start()
    assert store.go_on is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(run.work_one(job))
        await store.looked.wait()
        report = await find_orphans(stack.services, older_than_s=0, delete=True)
        assert report.deleted == 1
        assert await store.inner.head(keys[1]) is None
        store.go_on.set()
    assert store.puts == [keys[1]]
    assert (await verify_media(stack.services)).is_whole
    assert await stack.value("SELECT count(*) FROM media") == 3
    assert (await stack.run("A23"))["status"] == "completed"
    assert await stack.value("SELECT max(attempts) FROM jobs") == 0


async def test_a_job_waits_while_its_bytes_are_being_removed(
    three: tuple[Stack, CountingStore, list[str]], origin: PictureOrigin
) -> None:
    """orphans: marked ── job: wants the bytes, waits ── orphans: deleted, over ── job: puts them."""
    stack, counting, keys = three
    await orphaned(stack, origin)
    removing, store = pausing(stack, counting)
    store.removing = asyncio.Event()
    assert store.go_on is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(find_orphans(removing.services, older_than_s=0, delete=True))
        await store.removing.wait()
        syncing = group.create_task(stack.sync())
        await asyncio.sleep(1.0)
        assert not syncing.done()
        assert counting.puts == []
        store.go_on.set()
    assert counting.puts == [keys[1]]
    assert (await verify_media(stack.services)).is_whole
    assert (await stack.run("A23"))["status"] == "completed"


async def test_a_commit_that_is_open_keeps_its_object(
    three: tuple[Stack, CountingStore, list[str]], origin: PictureOrigin
) -> None:
    """The mark waits for the commit, and then finds that the media is led to."""
    stack, store, keys = three
    await orphaned(stack, origin)
    (job,) = await HeldRun(stack).start()
    address_id, sha256 = int(job.args["address_id"]), keys[1][6:70]
    picture = StoredPicture(address_id, bytes.fromhex(sha256), keys[1], "image/jpeg", 40, 30, 1, None, None)
    async with stack.services.database.begin() as db:
        assert await commit_settled(db, [Settled(job, address_id, picture, sha256)]) == ["ended"]
        removing = asyncio.create_task(find_orphans(stack.services, older_than_s=0, delete=True))
        await asyncio.sleep(0.3)
        assert not removing.done()
    assert (await removing).deleted == 0
    assert await store.inner.head(keys[1]) is not None
    assert (await verify_media(stack.services)).is_whole


async def test_syncs_and_removals_side_by_side_leave_every_picture_in_the_store(
    make_stack: MakeStack, origin: PictureOrigin
) -> None:
    """Pictures come and go in two suppliers while everything unneeded is removed at once, again and again."""
    feed = bare_feed(count=2, variants=4)
    for number in range(8):
        origin.put(f"/{number}.jpg", jpeg(number % 5))
    async with make_stack(feed) as stack:

        async def sync(supplier: str, step: int) -> None:
            sku = skus_of(feed, supplier)[0]
            for turn in range(6):
                show(feed, sku, *([origin.url(f"/{(turn * step + at) % 8}.jpg")] for at in range(4)))
                await stack.sync(supplier)

        syncing = True

        async def remove() -> None:
            while syncing:
                await find_orphans(stack.services, older_than_s=0, delete=True)
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            removing = group.create_task(remove())
            async with asyncio.TaskGroup() as syncs:
                syncs.create_task(sync("A23", 3))
                syncs.create_task(sync("A360", 5))
            syncing = False
            await removing
        runs = await stack.rows("SELECT status, images_failed FROM runs")
        assert {(run["status"], run["images_failed"]) for run in runs} == {("completed", 0)}
        assert await stack.value("SELECT count(*) FROM variants WHERE shown_generation <> generation") == 0
        assert (await verify_media(stack.services)).wrong == []
        assert (await find_orphans(stack.services, older_than_s=0)).objects == []


async def test_the_commands_print_json_and_exit_codes(
    three: tuple[Stack, CountingStore, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, store, keys = three
    for name, value in environment_of(stack.settings).items():
        monkeypatch.setenv(name, value)
    runner = CliRunner()

    async def invoke(*arguments: str) -> Any:
        return await asyncio.to_thread(runner.invoke, media_app, list(arguments))

    whole = await invoke("verify", "--json")
    assert (whole.exit_code, '"checked": 3' in whole.stdout) == (0, True)
    await store.inner.delete(keys[0])
    missing = await invoke("verify")
    assert missing.exit_code == 1
    assert f"{keys[0]}: missing" in missing.stdout
    assert (await invoke("verify", "--repair")).exit_code == 0
    listed = await invoke("orphans", "--older-than", "0s", "--json")
    assert (listed.exit_code, '"dryRun": true' in listed.stdout) == (0, True)
    deleted = await invoke("orphans", "--delete")
    assert "that nothing shows, older than 24h" in deleted.stdout
    assert "0 objects removed" in deleted.stdout
    assert (await invoke("orphans", "--older-than", "soon")).exit_code == 2


def test_an_age_is_a_number_and_a_unit() -> None:
    assert [read_age_s(age) for age in ("24h", "90m", "7d", "0s")] == [86_400, 5_400, 604_800, 0]
