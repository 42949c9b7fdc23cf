"""The jobs of the queue's measurements: nothing, a sleep of 10 ms, and one that hangs until its worker is killed.

They note in Redis when the first of a batch began and the last was over. Ours end with a real commit of the ledger, in
micro-batches as in the image stage: fence, result, the run's counters.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence

import orjson
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import ClaimLost
from app.persistence import ledger, runs
from app.persistence.ledger import ClaimedJob
from app.sync.services import Services
from app.sync.stage.batching import Batcher

STAMPS = "bench:stamps"
HANG_S = 3600.0


class Stamps:
    """Notes a batch's first start and last end of this process."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._first: dict[str, float] = {}
        self._ended: Counter[str] = Counter()

    def begin(self, batch: str) -> None:
        """A job of the batch begins."""
        if batch not in self._first:
            self._first[batch] = time.time()

    async def end(self, batch: str, of: int) -> None:
        """A job is over; the batch's last one writes the stamp."""
        self._ended[batch] += 1
        if self._ended[batch] == of:
            await self.write(batch, self._first[batch])

    async def write(self, batch: str, first: float) -> None:
        """Write a stamp."""
        stamp = {"batch": batch, "pid": os.getpid(), "first": first, "last": time.time()}
        pushed = self._redis.rpush(STAMPS, orjson.dumps(stamp))
        assert not isinstance(pushed, int)  # redis types its two clients as one
        await pushed


class BareJobs:
    """The handler that stands in for a queue's own."""

    def __init__(self, services: Services) -> None:
        assert services.queue is not None
        self._database = services.database
        self._stamps = Stamps(services.queue.redis)
        self._ends: Batcher[ClaimedJob, bool] = Batcher(self._commit, most=200)

    async def run(self, job: ClaimedJob, free_slot: Callable[[], None]) -> None:
        """Do what the job's arguments say, and end it in the ledger."""
        batch, of, sleep_s = job.args["batch"], job.args["of"], job.args["sleep_s"]
        self._stamps.begin(batch)
        if sleep_s >= HANG_S:
            await self._hang(job, batch)
        elif sleep_s:
            await asyncio.sleep(sleep_s)
        free_slot()
        if not await self._ends.ask(job):
            raise ClaimLost(f"job {job.id} is not this worker's any more")
        await self._stamps.end(batch, of)

    async def _hang(self, job: ClaimedJob, batch: str) -> None:
        """The first worker that has the job never ends it; the next one, after a death, does so at once."""
        await self._stamps.write(batch, time.time())
        if job.deaths == 0:
            await asyncio.sleep(HANG_S)

    async def _commit(self, batch: Sequence[ClaimedJob]) -> list[bool]:
        async def work(db: AsyncConnection) -> set[str]:
            held = await ledger.complete(db, [(job, None) for job in batch])
            ended = Counter(job.run_id for job in batch if job.id in held)
            moves = [runs.Move(run_id, Counter(images_deduplicated=n), 0, n) for run_id, n in ended.items()]
            await runs.book_each(db, moves)
            return held

        held = await self._database.transact(work)
        return [job.id in held for job in batch]
