"""An idle worker has leased what came when it wakes up: as many as it had room for, and nothing once it stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from app.jobs.definitions import SUPPLIER_SYNC
from app.jobs.messages import Exchanged, Message
from app.jobs.queue import RedisQueue
from app.sync.operating.start import StartRequest, start_queued
from app.sync.running.outcomes import Ended
from app.sync.running.slots import Running, Slots
from app.sync.stage.context import Stage
from app.sync.stage.progress import ProgressBoard
from tests.support.stack import Servers, Stack
from tests.support.waiting import eventually
from workers.exchange import Exchange

LEASE_MS = 60_000


class Idle:
    """A worker that waits for jobs of a queue of its own."""

    def __init__(self, queue: RedisQueue) -> None:
        self.queue, self.name, self.token = queue, SUPPLIER_SYNC, uuid4().hex

    async def exchange(self, room: int, *, done: Sequence[str] = (), keep_room: bool = True) -> Exchanged:
        return await self.queue.exchange(
            self.name, self.token, lease_ms=LEASE_MS, room=room, done=done, keep_room=keep_room
        )

    async def listen(self, wait_s: float = 5.0) -> Exchanged | None:
        return await self.queue.listen(self.name, self.token, lease_ms=LEASE_MS, wait_s=wait_s)

    async def send(self, *ids: str) -> None:
        await self.queue.send([Message(job_id, self.name, "run") for job_id in ids])


@pytest.fixture
async def idle(servers: Servers) -> AsyncIterator[Idle]:
    queue = RedisQueue(servers.valkey.url, prefix=f"{uuid4().hex}:")
    yield Idle(queue)
    await queue.close()


async def test_what_is_sent_is_leased_with_the_wake_up(idle: Idle) -> None:
    assert (await idle.exchange(3)).ids == []
    listening = asyncio.create_task(_heard(idle))
    await asyncio.sleep(0.1)
    await idle.send("one", "two")
    assert (await listening).ids == ["one", "two"]
    assert (await Idle(idle.queue).exchange(3)).ids == []


async def test_what_there_is_no_room_for_wakes_the_next_one(idle: Idle) -> None:
    other = Idle(idle.queue)
    await idle.exchange(2)
    await other.exchange(9)
    await idle.send("a", "b", "c")
    assert [(await _heard(one)).ids for one in (idle, other)] == [["a", "b"], ["c"]]


async def test_room_is_used_up(idle: Idle) -> None:
    await idle.exchange(2)
    await idle.send("a")
    assert (await _heard(idle)).ids == ["a"]
    await idle.send("b")
    assert (await _heard(idle)).ids == []
    assert (await idle.exchange(1, done=["a"])).ids == ["b"]


async def test_an_exchange_voids_what_an_earlier_one_kept(idle: Idle) -> None:
    await idle.exchange(2)
    await idle.exchange(0, keep_room=False)
    await idle.send("a")
    assert (await _heard(idle)).ids == []
    assert await idle.listen(wait_s=0.05) is None  # or a paused worker would wake itself for ever


async def test_room_is_given_up_before_or_after_something_was_leased(idle: Idle) -> None:
    await idle.exchange(2)
    assert await idle.queue.keep_no_room(idle.token)
    await idle.send("a")
    assert (await _heard(idle)).ids == []
    assert (await idle.exchange(2)).ids == ["a"]
    await idle.exchange(2)
    await idle.send("b")
    assert (await _heard(idle)).ids == ["b"]
    assert not await idle.queue.keep_no_room(idle.token)


async def test_who_is_cut_off_leases_nothing_for_longer(idle: Idle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.queue.KEEP_ROOM_MS", 50)
    await idle.exchange(2)
    await asyncio.sleep(0.1)
    await idle.send("a")
    assert (await _heard(idle)).ids == []


async def test_nothing_heard_keeps_the_room(idle: Idle) -> None:
    await idle.exchange(2)
    assert await idle.listen(wait_s=0.05) is None
    await idle.send("a")
    assert (await _heard(idle)).ids == ["a"]


async def test_a_redis_that_forgot_the_script_meanwhile_only_wakes(idle: Idle) -> None:
    await idle.exchange(2)
    listening = asyncio.create_task(idle.listen())
    await asyncio.sleep(0.1)
    await idle.queue.redis.script_flush()
    await idle.send("a")
    assert await listening == Exchanged([], None)
    assert (await idle.exchange(1)).ids == ["a"]


async def _heard(idle: Idle) -> Exchanged:
    got = await idle.listen()
    assert got is not None
    return got


class OneWorker:
    """Rounds and ear of a worker of two slots, without its chores."""

    def __init__(self, stack: Stack) -> None:
        assert stack.services.queue is not None
        self.queue, self.begun, self.is_stopping = stack.services.queue, asyncio.Queue[str](), False
        self.slots = Slots(2, self._begin, lambda: None)
        self.stage = Stage(stack.services, self.queue, ProgressBoard(stack.services.database))
        self.rounds = Exchange(
            self.stage,
            self.queue,
            SUPPLIER_SYNC,
            uuid4().hex,
            self.slots,
            lease_ms=LEASE_MS,
            takes_no_more=lambda: self.is_stopping,
        )

    async def _begin(self, running: Running) -> None:
        self.begun.put_nowait(running.job.id)
        await asyncio.Event().wait()

    async def hears_of(self, supplier: str) -> tuple[str, list[asyncio.Task[None]]]:
        """It is idle and listens when a job is sent; returns that, which is leased, and the task that listens."""
        await self.rounds.round()
        tasks = await self.working("listen")
        await asyncio.sleep(0.1)
        (job,) = await start_queued(self.stage.services, StartRequest(supplier=supplier))
        await eventually(lambda: self.queue.redis.exists(self.queue.keys.held(job.job_id)))
        return job.job_id, tasks

    async def working(self, *parts: str) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(getattr(self.rounds, part)()) for part in parts]


async def test_a_worker_that_hears_of_a_job_begins_it_without_another_exchange(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object, **__: object) -> Exchanged:
        return Exchanged([], None)

    monkeypatch.setattr("app.jobs.queue.KEEP_ROOM_MS", 60_000)
    worker = OneWorker(stack)
    await worker.rounds.round()
    monkeypatch.setattr(RedisQueue, "exchange", nothing)
    tasks = await worker.working("listen", "run")
    (job,) = await start_queued(stack.services, StartRequest(supplier="A23"))
    assert await worker.begun.get() == job.job_id
    await _end(worker, tasks)


async def test_what_was_leased_when_the_worker_stops_goes_back_at_once(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wake-up and the stop come together: the answer is on its way while the worker gives up its room."""
    listen = RedisQueue.listen

    async def listen_from_afar(*args: Any, **given: Any) -> Exchanged | None:
        got = await listen(*args, **given)
        await asyncio.sleep(0.2)
        return got

    monkeypatch.setattr(RedisQueue, "listen", listen_from_afar)
    monkeypatch.setattr("app.jobs.queue.KEEP_ROOM_MS", 60_000)
    worker = OneWorker(stack)
    job_id, tasks = await worker.hears_of("A23")
    worker.is_stopping = True
    await worker.rounds.take_no_more()
    await worker.rounds.round()
    await _end(worker, tasks)
    assert worker.begun.empty()
    other = Idle(worker.queue)
    assert (await other.exchange(1)).ids == [job_id]
    assert await stack.rows("SELECT state, attempts, deaths FROM jobs") == [
        {"state": "waiting", "attempts": 0, "deaths": 0}
    ]


async def test_when_the_next_job_is_due_is_not_forgotten_by_a_wake_up(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.jobs.queue.KEEP_ROOM_MS", 60_000)
    monkeypatch.setattr("workers.exchange.IDLE_POLL_S", 3600.0)
    worker = OneWorker(stack)
    await worker.queue.send([Message("later", SUPPLIER_SYNC, "run", wait_ms=LEASE_MS // 2)])
    await worker.queue.redis.delete(worker.queue.keys.wake(SUPPLIER_SYNC))
    job_id, tasks = await worker.hears_of("A23")
    await asyncio.sleep(0.1)
    assert await worker.rounds.round() <= LEASE_MS / 2000
    assert await worker.begun.get() == job_id
    await _end(worker, tasks)


async def test_a_marker_that_nobody_wanted_any_more_is_set_again(stack: Stack) -> None:
    """The wait began when there was room, and the worker stops, or is full, before it is over."""
    worker = OneWorker(stack)
    tasks = await worker.working("listen")
    await worker.rounds.round()
    await asyncio.sleep(0.1)
    worker.is_stopping = True
    await worker.rounds.take_no_more()
    await worker.rounds.round()
    await worker.queue.wake(SUPPLIER_SYNC)
    await asyncio.sleep(0.2)
    assert await worker.queue.redis.zcard(worker.queue.keys.wake(SUPPLIER_SYNC)) == 1
    await _end(worker, tasks)


async def test_a_worker_that_stops_leaves_the_marker_to_others(stack: Stack) -> None:
    """Also when one of its jobs ends, of which it tells Redis."""
    worker = OneWorker(stack)
    await start_queued(stack.services, StartRequest())
    await worker.rounds.round()
    job_id = await worker.begun.get()
    worker.is_stopping = True
    await worker.rounds.take_no_more()
    worker.rounds.over([Ended(job_id)])
    await worker.rounds.round()
    tasks = await worker.working("listen")
    await worker.queue.redis.delete(worker.queue.keys.wake(SUPPLIER_SYNC))
    await worker.queue.wake(SUPPLIER_SYNC)
    await asyncio.sleep(0.2)
    assert await worker.queue.redis.zcard(worker.queue.keys.wake(SUPPLIER_SYNC)) == 1
    await _end(worker, tasks)


async def test_what_was_leased_to_a_process_that_stood_still_is_handed_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another may have it by now, and a claim of an active job would count as a death."""
    monkeypatch.setattr("app.jobs.queue.KEEP_ROOM_MS", 60_000)
    worker = OneWorker(stack)
    job_id, tasks = await worker.hears_of("A23")
    await asyncio.sleep(0.1)
    after_long = time.monotonic() + LEASE_MS / 1000
    monkeypatch.setattr("workers.listener.time", SimpleNamespace(monotonic=lambda: after_long))
    worker.rounds._room = lambda: 0  # type: ignore[method-assign]
    await worker.rounds.round()
    await _end(worker, tasks)
    assert worker.begun.empty()
    assert (await Idle(worker.queue).exchange(1)).ids == [job_id]


async def _end(worker: OneWorker, tasks: list[asyncio.Task[None]]) -> None:
    ending = [*tasks, *worker.slots.tasks]
    for task in ending:
        task.cancel()
    await asyncio.wait(ending)
