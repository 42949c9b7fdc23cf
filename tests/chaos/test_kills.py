"""Workers are killed at random moments; what they worked on runs again, and leaves no trace of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.samplefeed import FeedSpec, SampleFeed
from tests.support.oracle import expected_pictures
from tests.support.stack import Servers
from tests.support.truth import assert_as_if_nothing_had_happened, assert_redis_forgets
from tests.support.worker_stack import QUEUE_NAMES, Workers, WorkerProcess, worker_stack

RECOVERY_S = 15.0


@dataclass
class Recoveries:
    """When each job of a killed worker was claimed again, or was found to have been committed."""

    workers: Workers
    waiting: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Job id to the dead worker's claim and when it died."""
    took_s: list[float] = field(default_factory=list)

    async def kill(self, worker: WorkerProcess) -> None:
        """Freeze it, see what it holds, kill it."""
        worker.freeze()
        for job_id, claim in await self._held_by(worker):
            self.waiting.setdefault(job_id, (claim, time.monotonic()))
        worker.kill()

    async def _held_by(self, worker: WorkerProcess) -> list[tuple[str, str]]:
        queue = self.workers.stack.services.queue
        assert queue is not None
        active = await self.workers.stack.rows(
            "SELECT id, claim FROM jobs WHERE queue = :queue AND state = 'active'", queue=worker.queue
        )
        holders = await queue.redis.mget([f"arq:in-progress:{row['id']}" for row in active] or ["none"])
        return [
            (row["id"], row["claim"])
            for row, holder in zip(active, holders, strict=False)
            if holder is not None and holder.decode() in worker.said()
        ]

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            rows = await self.workers.stack.rows(
                "SELECT id, state, claim FROM jobs WHERE id = ANY(:ids)", ids=list(self.waiting)
            )
            for row in rows:
                claim, died_at = self.waiting[row["id"]]
                if row["claim"] != claim:
                    del self.waiting[row["id"]]
                    self.took_s.append(time.monotonic() - died_at)


@pytest.mark.chaos
async def test_twenty_kills_during_a_sync_leave_no_trace(servers: Servers, tmp_path: Path) -> None:
    feed = SampleFeed(FeedSpec.small(count=1, families=104, variants=3, oddities=False))
    async with worker_stack(servers, tmp_path, feed) as workers:
        assert len(expected_pictures(feed)) >= 600
        workers.stack.server.habits.latency_s = 0.4
        for queue in (*QUEUE_NAMES, "image-upload"):
            workers.spawn(queue)
        await workers.ready()
        recoveries = Recoveries(workers)
        watching = asyncio.create_task(recoveries.watch())
        await workers.start("A23")
        kills = await _kill_until_over(recoveries, at_least=20)
        await workers.over(120)
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        print(f"{kills} kills, {len(recoveries.took_s)} jobs ran again, at most {max(recoveries.took_s):.1f} s later")
        assert not recoveries.waiting
        assert max(recoveries.took_s) <= RECOVERY_S
        await assert_as_if_nothing_had_happened(workers.stack)
        await assert_redis_forgets(workers.stack)


async def _kill_until_over(recoveries: Recoveries, *, at_least: int) -> dict[str, int]:
    """Kill one worker after another, each replaced at once as `up` does, and more of each kind while there is work."""
    kills = dict.fromkeys(QUEUE_NAMES, 0)
    while sum(kills.values()) < at_least:
        await asyncio.sleep(random.uniform(0.2, 1.6))
        queue = random.choice([name for name in QUEUE_NAMES if kills[name] == min(kills.values())])
        victim = random.choice(recoveries.workers.of(queue))
        await recoveries.kill(victim)
        recoveries.workers.spawn(queue)
        kills[queue] += 1
    return kills
