"""A worker that alone waits for a part of ours leaves its jobs to another one of its queue that is well."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from app.coordination.heartbeats import WorkerBeat, live_workers
from app.errors import StoreUnavailable
from app.outages import Outages
from tests.support.databases import execute
from tests.support.stack import Servers, Stack
from tests.support.truth import assert_as_if_nothing_had_happened, assert_redis_forgets
from tests.support.worker_stack import WorkerProcess, Workers, until, worker_stack
from workers.aside import Aside

IMPATIENT = """
from app.coordination import heartbeats
from workers import aside
aside.LOOK_EVERY_S, aside.IN_VAIN_S, heartbeats.SHORT_WAIT_S = 0.3, 3.0, 1.0
"""
STORE_AWAY = (
    IMPATIENT
    + """
from pathlib import Path
from app.errors import StoreUnavailable
from app.images.store_local import LocalStore

def away_while_there_is_a_file(method):
    async def ask(self, *args):
        if Path({flag!r}).exists():
            raise StoreUnavailable("it is away for this worker")
        return await method(self, *args)
    return ask

for name in ("put", "head", "get", "check"):
    setattr(LocalStore, name, away_while_there_is_a_file(getattr(LocalStore, name)))
"""
)
"""A worker whose own store is away while there is a file."""
CUT_OFF = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cut_off'"
LEAVES, AGAIN = "leaves its jobs to others", "this worker takes jobs again"


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    return tmp_path / "store-is-away"


def be(flag: Path, *, there: bool) -> None:
    if there:
        flag.touch()
    else:
        flag.unlink()


async def spawn(workers: Workers, prelude: str, *queues: str) -> list[WorkerProcess]:
    workers.prelude = prelude
    spawned = [workers.spawn(queue) for queue in queues]
    await workers.ready(spawned)
    return spawned


async def test_what_one_alone_cannot_store_another_does(servers: Servers, tmp_path: Path, flag: Path) -> None:
    """Its jobs were `active` for as long as that lasted, past their time-out, while the other one had free slots."""
    async with worker_stack(servers, tmp_path) as workers:
        (cut_off,) = await spawn(workers, STORE_AWAY.format(flag=str(flag)), "image-upload")
        be(flag, there=True)
        await spawn(workers, "", "supplier-sync", "product-family")
        await workers.start()
        await until(lambda: "waiting for a part of ours" in cut_off.said())
        await spawn(workers, "", "image-upload")
        await workers.over(60)
        assert cut_off.said().count(LEAVES) == 1
        await assert_as_if_nothing_had_happened(workers.stack)
        assert await workers.stack.value("SELECT max(attempts + deaths) FROM jobs") == 0
        assert AGAIN not in cut_off.said()
        be(flag, there=False)
        await until(lambda: AGAIN in cut_off.said())
        await assert_redis_forgets(workers.stack)


async def test_in_an_outage_of_all_nothing_is_handed_round(servers: Servers, tmp_path: Path, flag: Path) -> None:
    async with worker_stack(servers, tmp_path) as workers:
        both = await spawn(workers, STORE_AWAY.format(flag=str(flag)), "image-upload", "image-upload")
        be(flag, there=True)
        await spawn(workers, "", "supplier-sync", "product-family")
        await workers.start()
        await until(lambda: all("waiting for a part of ours" in worker.said() for worker in both))
        await until(lambda: _waiting_workers(workers, 2))
        await asyncio.sleep(6)
        said = await workers.stack.rows(
            "SELECT DISTINCT error FROM jobs WHERE queue = 'image-upload' AND state = 'active'"
        )
        assert [row["error"] for row in said] == ["waits for the object store: it is away for this worker"]
        assert [worker.said().count(LEAVES) for worker in both] == [0, 0]
        be(flag, there=False)
        await workers.over()
        assert await workers.stack.value("SELECT max(attempts + deaths) FROM jobs") == 0


async def test_what_one_holds_whom_the_database_refuses_another_does(servers: Servers, tmp_path: Path) -> None:
    """It cannot write that it hands back: its leases run out."""
    async with worker_stack(servers, tmp_path, lease_s=3) as workers:
        url = workers.stack.settings.database_url
        assert url is not None
        parts = urlsplit(url.get_secret_value())
        await execute(url.get_secret_value(), "CREATE ROLE cut_off LOGIN SUPERUSER PASSWORD 'cut_off'")
        workers.standing = {
            "DATABASE_URL": f"{parts.scheme}://cut_off:cut_off@{parts.hostname}:{parts.port}{parts.path}"
        }
        try:
            (cut_off,) = await spawn(workers, IMPATIENT, "image-upload")
            workers.standing = {}
            workers.stack.server.faults.add("picture", "slow", seconds=2, times=10)
            await spawn(workers, "", "supplier-sync", "product-family")
            await workers.start("A23")
            await until(
                lambda: workers.stack.rows("SELECT 1 FROM jobs WHERE queue = 'image-upload' AND claim IS NOT NULL")
            )
            await execute(url.get_secret_value(), "ALTER ROLE cut_off NOLOGIN")
            await execute(url.get_secret_value(), CUT_OFF)
            await spawn(workers, "", "image-upload")
            await workers.over(60)
            assert cut_off.said().count(LEAVES) == 1
            assert await workers.stack.value("SELECT max(attempts) FROM jobs") == 0
            await execute(url.get_secret_value(), "ALTER ROLE cut_off LOGIN")
            await until(lambda: AGAIN in cut_off.said())
        finally:
            workers.stop()
            await execute(url.get_secret_value(), "DROP ROLE cut_off")


@pytest.mark.parametrize(("silent", "handed_back"), [(["waits_for"], 0), ([], 1)], ids=["0.1.0", "of now"])
async def test_a_peer_that_does_not_say_what_it_waits_for_is_not_taken_for_well(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, silent: list[str], handed_back: int
) -> None:
    """A worker of 0.1.0 has free slots and may wait for the same store: its beat has no word on that."""
    queue = stack.services.queue
    assert queue is not None
    now = datetime.now(UTC).isoformat()
    peer = WorkerBeat("peer", "image-upload", "there", os.getpid(), now, now, concurrency=9, active=0, waits_for={})
    said = {name: value for name, value in msgspec.structs.asdict(peer).items() if name not in silent}
    await queue.redis.set(queue.keys.worker("peer"), msgspec.json.encode(said))
    await queue.redis.zadd(queue.keys.workers, {"peer": 1})
    given: list[str] = []

    async def away() -> None:
        raise StoreUnavailable("it is away for this worker")

    async def hand_back() -> None:
        given.append("all")

    async def note_wait(_: str) -> None:
        pass

    monkeypatch.setattr(stack.services.store, "check", away)
    monkeypatch.setattr("workers.aside.IN_VAIN_S", -1.0)
    monkeypatch.setattr("workers.aside.outages", outages := Outages())
    outages.met("a picture", StoreUnavailable("it is away for this worker"))
    aside = Aside(
        stack.services,
        queue,
        "image-upload",
        "this one",
        hand_back=hand_back,
        note_wait=note_wait,
        came_back=lambda: None,
    )
    await aside.look()
    assert (aside.stands(), len(given)) == (bool(handed_back), handed_back)


async def _waiting_workers(workers: Workers, count: int) -> bool:
    queue = workers.stack.services.queue
    assert queue is not None
    return sum(bool(beat.waits_for) for beat in await live_workers(queue.redis, queue.keys)) == count
