"""The least that a pick-up takes here: what no queue with a ledger can leave out, by the bare drivers.

    a row, committed ─▶ a message and a wake-up ─▶ a lease ─▶ a claim of the row ─▶ the job

The client is in the bench; the worker is a process of its own, `python -m bench.least`, with DATABASE_URL and REDIS_URL
as a worker of ours. Nothing is fair, retried or looked at twice, and no job ends.
"""

from __future__ import annotations

import os
import time
from typing import Any

import asyncpg
import uvloop
from redis.asyncio import Redis

from bench.ground import Ground, Process, spawn, until
from bench.queue_jobs import Stamps

QUEUE, WAKE, READY = "least:queue", "least:wake", "least:ready"
SEND = "redis.call('RPUSH', KEYS[1], ARGV[1]) redis.call('ZADD', KEYS[2], 0, 'w')"
LEASE = "return redis.call('LPOP', KEYS[1])"
CREATE = "DROP TABLE IF EXISTS least; CREATE TABLE least (id text PRIMARY KEY, state text NOT NULL)"
ADD = "INSERT INTO least VALUES ($1, 'waiting')"
CLAIM = "UPDATE least SET state = 'active' WHERE id = $1 AND state = 'waiting' RETURNING id"
"""Without waiting for the disk, as ours: a claim that is lost only makes the job run again."""


class Least:
    """Enqueues one job at a time, for a worker of the same kind."""

    name = "the least"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._redis = Redis.from_url(ground.servers.valkey.url)
        self._send = self._redis.register_script(SEND)
        self._connection: Any = None

    async def start_worker(self) -> Process:
        """A worker, ready to work."""
        self._connection = await asyncpg.connect(_plain(self._ground.database_url))
        await self._connection.execute(CREATE)
        self._add = await self._connection.prepare(ADD)
        await self._redis.delete(READY)
        process = spawn(self.name, ["bench.least"], self._ground.env)
        await until(self._is_ready)
        return process

    async def enqueue(self, batch: str, of: int, sleep_s: float) -> None:  # noqa: ARG002 (as a contender's)
        """Enqueue one job."""
        await self._add.fetch(batch)
        await self._send(keys=[QUEUE, WAKE], args=[batch])

    async def describe(self) -> str:
        """What is left in it, where something hangs."""
        return str(await self._connection.fetch("SELECT state, count(*) FROM least GROUP BY 1"))

    async def close(self) -> None:
        """Let go."""
        await self._redis.aclose()
        await self._connection.close()

    async def _is_ready(self) -> bool:
        return bool(await self._redis.exists(READY))


async def _work() -> None:
    connection = await asyncpg.connect(_plain(os.environ["DATABASE_URL"]))
    await connection.execute("SET synchronous_commit TO off")
    claim = await connection.prepare(CLAIM)
    async with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        stamps, lease = Stamps(redis), redis.register_script(LEASE)
        await redis.set(READY, "1")
        while True:
            if await redis.bzpopmin([WAKE], timeout=1):
                batch = (await lease(keys=[QUEUE])).decode()
                await claim.fetch(batch)
                await stamps.write(batch, time.time())


def _plain(url: str) -> str:
    """As the driver takes it, without SQLAlchemy's name for it."""
    return url.replace("postgresql+asyncpg:", "postgresql:")


if __name__ == "__main__":
    uvloop.run(_work())
