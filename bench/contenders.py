"""The queues that are compared: stock ARQ at two polling intervals, and ours with its ledger.

Each can enqueue one job, or many, and start one worker process with ten slots. A job is a batch's name, how many the
batch has, and how long it sleeps.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from arq.connections import ArqRedis, RedisSettings, create_pool
from sqlalchemy.ext.asyncio import AsyncConnection

from app.jobs.definitions import IMAGE_UPLOAD, SUPPLIER_SYNC, QueueName
from app.jobs.messages import Message
from app.persistence import ledger, runs, suppliers
from app.persistence.ledger import NewJob
from app.sync.stage.context import messages_of
from bench.ground import Ground, Process, spawn, until, wait_ready

CHUNK = 1_000
AT_ONCE = 100
COMMITS_AT_ONCE = 3
_numbers = itertools.count(1)


class Contender(Protocol):
    """A queue under measurement."""

    name: str

    async def enqueue(self, batch: str, of: int, sleep_s: float) -> None:
        """Enqueue one job."""

    async def enqueue_many(self, batch: str, of: int, sleep_s: float) -> None:
        """Enqueue a whole batch, as fast as this queue can."""

    async def start_worker(self, *options: str) -> Process:
        """A worker process of this queue, ready to work."""

    async def describe(self) -> str:
        """What is left in it, where something hangs."""

    async def close(self) -> None:
        """Let go."""


class StockArq:
    """ARQ 0.28 as it comes."""

    def __init__(self, ground: Ground, poll_s: float) -> None:
        self.name = f"ARQ, polling every {poll_s * 1000:.0f} ms"
        self._ground, self._poll_s = ground, poll_s
        self._queue = f"stock-{poll_s * 1000:.0f}"
        self._redis: ArqRedis | None = None

    async def enqueue(self, batch: str, of: int, sleep_s: float) -> None:
        """See Contender."""
        redis = await self._pool()
        await redis.enqueue_job("bare_job", batch, of, sleep_s, _queue_name=self._queue)

    async def enqueue_many(self, batch: str, of: int, sleep_s: float) -> None:
        """See Contender. ARQ has no call for it: many single ones at once."""
        left = iter(range(of))

        async def some() -> None:
            for _ in left:
                await self.enqueue(batch, of, sleep_s)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some())

    async def start_worker(self, *options: str) -> Process:
        """See Contender."""
        told = _told(self._ground)
        url = self._ground.servers.valkey.url
        arguments = ["bench.stock_worker", self._queue, url, str(self._poll_s), str(told), *options]
        process = spawn(self.name, arguments, self._ground.env, told)
        redis = await self._pool()
        await until(lambda: _is_set(redis, f"{self._queue}:health-check"))
        await redis.delete(f"{self._queue}:health-check")
        return process

    async def describe(self) -> str:
        """See Contender."""
        return f"{await (await self._pool()).zcard(self._queue)} queued"

    async def close(self) -> None:
        """See Contender."""
        if self._redis is not None:
            await self._redis.aclose()

    async def _pool(self) -> ArqRedis:
        if self._redis is None:
            self._redis = await create_pool(RedisSettings.from_dsn(self._ground.servers.valkey.url))
        return self._redis


class Ours:
    """Our runtime with the ledger: a job is a row and a message, its claim and its end are commits."""

    def __init__(self, ground: Ground, name: str, queue: QueueName = IMAGE_UPLOAD) -> None:
        self.name = name
        self._ground, self._queue = ground, queue
        self._run: tuple[str, int] | None = None

    async def enqueue(self, batch: str, of: int, sleep_s: float) -> None:
        """See Contender."""
        await self._add([self._job(batch, of, sleep_s)])

    async def enqueue_many(self, batch: str, of: int, sleep_s: float) -> None:
        """See Contender. As many commits at once as there are family jobs that lead to pictures."""
        starts = iter(range(0, of, CHUNK))

        async def some() -> None:
            for start in starts:
                await self._add([self._job(batch, of, sleep_s) for _ in range(min(CHUNK, of - start))])

        async with asyncio.TaskGroup() as group:
            for _ in range(COMMITS_AT_ONCE):
                group.create_task(some())

    async def start_worker(self, *options: str) -> Process:
        """See Contender."""
        told = _told(self._ground)
        arguments = ["bench.worker_process", self._queue, "--out", str(told), "--bare", *options]
        process = spawn(self.name, arguments, self._ground.env, told)
        await wait_ready(self._ground, [process])
        return process

    async def describe(self) -> str:
        """See Contender."""
        return str(
            await self._ground.rows(
                "SELECT state, attempts, deaths, args ->> 'batch' AS batch, count(*), max(error) AS error FROM jobs "
                "GROUP BY 1, 2, 3, 4"
            )
        )

    async def close(self) -> None:
        """See Contender."""

    def _job(self, batch: str, of: int, sleep_s: float) -> NewJob:
        job_id = ledger.new_job_id(self._queue)
        return NewJob(job_id, self._queue, job_id, {"batch": batch, "of": of, "sleep_s": sleep_s})

    async def _add(self, jobs: Sequence[NewJob]) -> None:
        """As a stage does it: rows and the run's count in one commit, then the messages."""
        run_id, supplier_id = await self._under_way()

        async def work(db: AsyncConnection) -> list[str]:
            owner = (run_id, supplier_id, False)
            return await runs.book_with_jobs(db, owner, Counter(), jobs, counted="images_total")

        services = self._ground.services
        added = await services.database.transact(work)
        assert services.queue is not None
        messages: list[Message] = messages_of(self._queue, run_id, added)
        await services.queue.send(messages)

    async def _under_way(self) -> tuple[str, int]:
        """A run that these jobs belong to; its supplier job is not due for a year, so that it does not end."""
        if self._run is None:
            code = f"B{uuid4().hex[:8]}"
            job = NewJob(f"bench-{code}", SUPPLIER_SYNC, code, {})
            async with self._ground.services.database.begin() as db:
                await suppliers.add_suppliers(db, [code])
                supplier = await suppliers.find_supplier(db, code)
                assert supplier is not None
                started = await runs.start_run(
                    db,
                    run_id=str(uuid4()),
                    supplier_id=supplier.id,
                    job_id=job.id,
                    mode="queued",
                    trigger="cli",
                    options=ledger.RunOptions(),
                )
                await runs.mark_running(db, started.run_id)
                await ledger.add_jobs(db, [job], run_id=started.run_id, supplier_id=supplier.id, direct=False)
            await self._ground.rows("UPDATE jobs SET run_at = now() + interval '1 year' WHERE id = $1", job.id)
            self._run = (started.run_id, supplier.id)
        return self._run


async def _is_set(redis: ArqRedis, key: str) -> bool:
    return bool(await redis.exists(key))


def _told(ground: Ground) -> Path:
    ground.folder.mkdir(exist_ok=True)
    return ground.folder / f"told-{next(_numbers)}.json"
