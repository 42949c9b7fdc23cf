"""Which workers live: each writes a beat to Redis every few seconds, and a beat that is not renewed is gone.

A beat is a key that expires; a sorted set by time says which keys to read, so that nothing needs KEYS or SCAN.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from app.coordination.faults import told_as_outage
from app.outages import outages
from app.redis_keys import DEFAULT_KEYS, RedisKeys

BEAT_EVERY_S = 2.0
SHORT_WAIT_S = 10.0
BEAT_LIFE_S = 7
"""A worker that died is gone within ten seconds (API.md, "Jobs and queues")."""


class WorkerBeat(msgspec.Struct, frozen=True):
    """A live worker, as it described itself last."""

    id: str
    queue_name: str
    hostname: str
    pid: int
    started_at: str
    """ISO 8601, UTC."""
    last_heartbeat_at: str
    concurrency: int
    active: int
    waits_for: dict[str, str] | None = None
    """Parts of ours that its work has been waiting for longer than some seconds, and what they said last; a worker of
    0.1.0 does not say."""


class Beats:
    """What one worker says of itself at each beat; `concurrency` are its slots, `active` says how many are busy.

    By Redis's clock, as all who read it may compare it with others': a worker's own may be minutes off.
    """

    def __init__(self, worker_id: str, queue_name: str, *, concurrency: int, active: Callable[[], int]) -> None:
        self._id, self._queue_name = worker_id, queue_name
        self._concurrency, self._active = concurrency, active
        self._began = time.monotonic()
        self._started_at: datetime | None = None

    def at(self, now: datetime) -> WorkerBeat:
        """The worker at this moment, which is Redis's."""
        self._started_at = self._started_at or now - timedelta(seconds=time.monotonic() - self._began)
        return WorkerBeat(
            id=self._id,
            queue_name=self._queue_name,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at.isoformat(),
            last_heartbeat_at=now.isoformat(),
            concurrency=self._concurrency,
            active=self._active(),
            waits_for=outages.longer_than(SHORT_WAIT_S),
        )


def time_of(redis: SyncRedis) -> datetime:
    """Redis's clock."""
    seconds, microseconds = cast("tuple[int, int]", redis.time())
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)


def write_beat(redis: SyncRedis, beat: WorkerBeat, keys: RedisKeys = DEFAULT_KEYS) -> None:
    """Say that a worker lives; called from its heartbeat thread."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(keys.worker(beat.id), msgspec.json.encode(beat), ex=BEAT_LIFE_S)
        pipe.zadd(keys.workers, {beat.id: datetime.fromisoformat(beat.last_heartbeat_at).timestamp()})
        pipe.expire(keys.workers, 3600)
        pipe.execute()


def forget_beat(redis: SyncRedis, worker_id: str, keys: RedisKeys = DEFAULT_KEYS) -> None:
    """Say that a worker is leaving."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.delete(keys.worker(worker_id))
        pipe.zrem(keys.workers, worker_id)
        pipe.execute()


async def live_workers(redis: Redis, keys: RedisKeys = DEFAULT_KEYS) -> list[WorkerBeat]:
    """The workers whose beat is fresh, by queue and start; forgets the others.

    Raises:
        QueueUnavailable: Redis is away or refuses writes.
    """
    with told_as_outage("say which workers live"):
        return await _live_workers(redis, keys)


async def _live_workers(redis: Redis, keys: RedisKeys) -> list[WorkerBeat]:
    ids = [worker_id.decode() for worker_id in await redis.zrange(keys.workers, 0, -1)]
    if not ids:
        return []
    values = await redis.mget([keys.worker(worker_id) for worker_id in ids])
    gone = [worker_id for worker_id, value in zip(ids, values, strict=True) if value is None]
    if gone:
        await redis.zrem(keys.workers, *gone)
    beats = [msgspec.json.decode(value, type=WorkerBeat) for value in values if value is not None]
    return sorted(beats, key=lambda beat: (beat.queue_name, beat.started_at, beat.id))


async def workers_now(redis: Redis, keys: RedisKeys) -> tuple[list[WorkerBeat], int]:
    """The live workers, and how many ended without a word since somebody looked last.

    Raises:
        QueueUnavailable: Redis is away or refuses writes.
    """
    with told_as_outage("say which workers there were"):
        known = {worker_id.decode() for worker_id in await redis.zrange(keys.workers, 0, -1)}
    live = await live_workers(redis, keys)
    return live, len(known - {beat.id for beat in live})
