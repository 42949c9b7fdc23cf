"""An outage repeats only what it stopped: what was fetched, judged and stored waits for its commit (CASES.md D11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy import text

from app.images.download import DownloadedPicture, NotModified
from app.images.inspect import PictureFacts
from app.outages import outages
from app.persistence.media import StoredPicture
from app.sync.image.in_hand import Hands
from tests.conftest import MakeStack
from tests.support.counting_store import CountingStore, counted
from tests.support.image_jobs import HeldRun
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.stack import Stack
from tests.support.waiting import eventually

PICTURES = 5
TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.fixture
def met(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every try that an outage ended, as it happens."""
    tries: list[str] = []
    tell = outages.met

    def note(loop: str, error: BaseException, part: str | None = None) -> None:
        tries.append(loop)
        tell(loop, error, part)

    monkeypatch.setattr(outages, "met", note)
    monkeypatch.setattr("app.sync.running.outcomes.OUTAGE_PAUSE_S", (0.05,))
    return tries


@asynccontextmanager
async def held(make_stack: MakeStack, origin: PictureOrigin) -> AsyncIterator[tuple[Stack, CountingStore, HeldRun]]:
    feed = bare_feed()
    show(feed, skus_of(feed)[0], [origin.put(f"/{number}", jpeg(number)) for number in range(PICTURES)])
    async with make_stack(feed) as opened:
        stack, store = counted(opened)
        yield stack, store, HeldRun(stack)


@asynccontextmanager
async def read_only(stack: Stack) -> AsyncIterator[None]:
    """As after a failover to a standby: connections are cut, and new ones may only read."""
    name = str(await stack.value("SELECT current_database()"))
    async with stack.services.database.begin() as db:
        await db.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    async with stack.services.database.begin() as db:
        await db.execute(text(TERMINATE))
        yield
        await db.execute(text("SET TRANSACTION READ WRITE"))
        await db.execute(text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))


async def test_a_database_that_takes_no_writes_has_no_picture_fetched_or_put_again(
    make_stack: MakeStack, origin: PictureOrigin, met: list[str]
) -> None:
    async with held(make_stack, origin) as (stack, store, run):
        jobs = await run.start()

        async def tried_often() -> bool:
            return len(met) >= 6 * PICTURES

        async with asyncio.TaskGroup() as group, read_only(stack):
            for job in jobs:
                group.create_task(run.work_one(job))
            await eventually(tried_often)
        assert origin.given == {f"/{number}": 1 for number in range(PICTURES)}
        assert sorted(store.puts) == sorted(set(store.puts))
        assert len(store.puts) == PICTURES
        ended = await stack.run("A23")
        assert (ended["status"], ended["images_uploaded"]) == ("completed", PICTURES)


async def test_a_store_that_is_away_has_no_picture_fetched_again(
    make_stack: MakeStack, origin: PictureOrigin, met: list[str]
) -> None:
    async with held(make_stack, origin) as (stack, store, run):
        jobs = await run.start()
        store.away_for_puts = 4 * PICTURES
        await run.work(jobs)
        assert len(met) == 4 * PICTURES
        assert origin.given == {f"/{number}": 1 for number in range(PICTURES)}
        assert (await stack.run("A23"))["images_uploaded"] == PICTURES


async def test_what_the_world_moved_past_meanwhile_is_not_recorded(
    make_stack: MakeStack, origin: PictureOrigin, met: list[str]
) -> None:
    """The job comes back with its bytes, and nothing names its address any more."""
    async with held(make_stack, origin) as (stack, store, run):
        job, *_ = await run.start()
        store.away_for_puts = 1_000_000
        working = asyncio.create_task(run.work_one(job))

        async def tried() -> bool:
            return bool(met)

        await eventually(tried)
        async with stack.services.database.begin() as db:
            await db.execute(text("UPDATE variants SET status = 'discontinued'"))
        await working
        assert store.puts == []
        result = await stack.value("SELECT result FROM jobs WHERE id = :id", id=job.id)
        assert result == {"superseded": True}


FACTS = PictureFacts("image/png", "png", 1, 1)
STORED = StoredPicture(1, b"", "", "image/png", 1, 1, 1, None, None)


def picture(size: int) -> DownloadedPicture:
    return DownloadedPicture(b"x" * size, "", FACTS, None, None)


def test_what_is_in_hand_is_bounded_in_bytes_and_the_oldest_bytes_go() -> None:
    hands = Hands(most_bytes=100)
    hands.hold("stored", STORED)
    for number in range(5):
        hands.hold(str(number), picture(40))
    assert [number for number in range(5) if hands.of(str(number))] == [3, 4]
    assert hands.of("stored") == STORED, "it holds no bytes"
    hands.hold("3", STORED)
    hands.hold("5", picture(60))
    assert hands.of("4") is not None, "what was stored gave its bytes back"
    hands.hold("too large", picture(101))
    assert hands.of("too large") is None


def test_jobs_that_nobody_ended_are_forgotten_in_time() -> None:
    hands = Hands(most_jobs=2)
    for name in ("a", "b", "c"):
        hands.hold(name, NotModified(None))
    hands.hold("c", replace(NotModified(None), etag="1"))
    assert [name for name in ("a", "b", "c") if hands.of(name)] == ["b", "c"]
    hands.drop("b")
    hands.drop("never there")
    assert hands.of("b") is None
