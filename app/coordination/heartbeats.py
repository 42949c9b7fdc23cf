"""Which workers live: each writes a beat to Redis every few seconds, and a beat that is not renewed is gone.

A beat is a key that expires; a sorted set by time says which keys to read, so that nothing needs KEYS or SCAN.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import QueueUnavailable

BEAT_EVERY_S = 2.0
BEAT_LIFE_S = 7
"""A worker that died is gone within ten seconds (API.md, "Jobs and queues")."""
REGISTRY = "promidata:workers"


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


def beat_key(worker_id: str) -> str:
    """The key of a worker's beat."""
    return f"promidata:worker:{worker_id}"


def write_beat(redis: SyncRedis, beat: WorkerBeat) -> None:
    """Say that a worker lives; called from its heartbeat thread."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(beat_key(beat.id), msgspec.json.encode(beat), ex=BEAT_LIFE_S)
        pipe.zadd(REGISTRY, {beat.id: datetime.now(UTC).timestamp()})
        pipe.expire(REGISTRY, 3600)
        pipe.execute()


def forget_beat(redis: SyncRedis, worker_id: str) -> None:
    """Say that a worker is leaving."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.delete(beat_key(worker_id))
        pipe.zrem(REGISTRY, worker_id)
        pipe.execute()


async def live_workers(redis: Redis) -> list[WorkerBeat]:
    """The workers whose beat is fresh, by queue and start; forgets the others.

    Raises:
        QueueUnavailable: Redis is away or refuses writes.
    """
    try:
        return await _live_workers(redis)
    except (RedisError, OSError) as error:
        raise QueueUnavailable(f"Redis cannot say which workers live: {error}") from error


async def _live_workers(redis: Redis) -> list[WorkerBeat]:
    ids = [worker_id.decode() for worker_id in await redis.zrange(REGISTRY, 0, -1)]
    if not ids:
        return []
    values = await redis.mget([beat_key(worker_id) for worker_id in ids])
    gone = [worker_id for worker_id, value in zip(ids, values, strict=True) if value is None]
    if gone:
        await redis.zrem(REGISTRY, *gone)
    beats = [msgspec.json.decode(value, type=WorkerBeat) for value in values if value is not None]
    return sorted(beats, key=lambda beat: (beat.queue_name, beat.started_at, beat.id))
