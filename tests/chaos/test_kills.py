"""Workers are killed, frozen and worn out; what they worked on runs again, and nothing shows that it was so."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.jobs.definitions import PRODUCT_FAMILY
from app.samplefeed import FeedSpec, SampleFeed
from tests.support.oracle import expected_pictures
from tests.support.stack import Servers, Stack
from tests.support.truth import (
    assert_as_if_nothing_had_happened,
    assert_nothing_left_over,
    assert_redis_forgets,
)
from tests.support.worker_stack import QUEUE_NAMES, WorkerProcess, Workers, until, worker_stack

LEFT_ALONE_S = 4.0


@dataclass
class Recoveries:
    """When each job of a killed worker was claimed again, or was found to have been committed."""

    workers: Workers
    waiting: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Job id to the dead worker's claim and when it died."""
    took_s: dict[str, float] = field(default_factory=dict)

    async def kill(self, worker: WorkerProcess) -> bool:
        """Freeze it, see what it holds, kill it; whether it held anything."""
        worker.freeze()
        held = await self.held_by(worker)
        for job_id, claim in held:
            self.waiting[job_id] = (claim, time.monotonic())
        worker.kill()
        return bool(held)

    async def held_by(self, worker: WorkerProcess) -> list[tuple[str, str]]:
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
                "SELECT id, claim, deaths FROM jobs WHERE id = ANY(:ids)", ids=list(self.waiting)
            )
            for row in rows:
                claim, died_at = self.waiting[row["id"]]
                if row["claim"] != claim:
                    del self.waiting[row["id"]]
                    self.took_s[f"{row['id']} after death {row['deaths']}"] = time.monotonic() - died_at


@asynccontextmanager
async def watched(workers: Workers) -> AsyncIterator[Recoveries]:
    recoveries = Recoveries(workers)
    watching = asyncio.create_task(recoveries.watch())
    try:
        yield recoveries
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


@pytest.mark.chaos
async def test_twenty_kills_during_a_sync_leave_no_trace(
    servers: Servers, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    feed = SampleFeed(FeedSpec.small(count=1, families=104, variants=3, oddities=False))
    async with (
        worker_stack(servers, tmp_path, feed, concurrency_documents=2) as workers,
        watched(workers) as recoveries,
    ):
        assert len(expected_pictures(feed)) >= 600
        workers.stack.server.habits.latency_s = 4.0  # until all kills are done: 20 pictures at a time of over 600
        for queue in (*QUEUE_NAMES, *QUEUE_NAMES):
            workers.spawn(queue)
        await workers.ready()
        await workers.start("A23")
        kills = await _kill(recoveries, {"supplier-sync": 4, "product-family": 6, "image-upload": 10})
        workers.stack.server.habits.latency_s = 0.0
        await workers.over(300)
        await until(lambda: not recoveries.waiting)
        record_property("kills", kills)
        record_property("jobs run again", len(recoveries.took_s))
        record_property("slowest recovery in seconds", round(max(recoveries.took_s.values()), 1))  # F7 is in the bench
        await assert_as_if_nothing_had_happened(workers.stack)
        await assert_redis_forgets(workers.stack)


async def _kill(recoveries: Recoveries, quotas: dict[str, int]) -> dict[str, int]:
    """Kill workers in the middle of a job, at random moments, each replaced at once as `up` does.

    One kind is left alone for some seconds after each kill: a job can only run again where a worker lives to run it.
    """
    workers, struck = recoveries.workers, dict.fromkeys(quotas, 0)
    not_before = dict.fromkeys(quotas, 0.0)
    while due := [name for name in quotas if struck[name] < quotas[name]]:
        await asyncio.sleep(random.uniform(0.1, 1.0))
        assert await workers.stack.rows("SELECT 1 FROM runs WHERE finished_at IS NULL"), f"too quick: {struck}"
        due = [name for name in due if time.monotonic() > not_before[name]]
        victim = await _busy_one(recoveries, random.choice(due)) if due else None
        if victim is not None:
            struck[victim.queue] += await recoveries.kill(victim)
            not_before[victim.queue] = time.monotonic() + LEFT_ALONE_S
            workers.replace_dead()
    return struck


async def _busy_one(recoveries: Recoveries, queue: str) -> WorkerProcess | None:
    """A worker of the queue in the middle of a job, waited for, since a family's takes some hundredths of a second."""
    for _ in range(200):
        busy = [worker for worker in recoveries.workers.of(queue) if await recoveries.held_by(worker)]
        if busy:
            return random.choice(busy)
        await asyncio.sleep(0.01)
    return None


@pytest.mark.chaos
async def test_killed_workers_jobs_run_again_and_leave_no_trace(servers: Servers, tmp_path: Path) -> None:
    feed = SampleFeed(FeedSpec.small(count=1, families=8, variants=3, oddities=False))
    async with worker_stack(servers, tmp_path, feed, lease_s=2) as workers, watched(workers) as recoveries:
        workers.stack.server.habits.latency_s = 1.0
        workers.spawn_all()
        await workers.start("A23")
        await _kill(recoveries, {"image-upload": 2})
        await workers.over()
        await assert_as_if_nothing_had_happened(workers.stack)


@pytest.mark.parametrize(
    ("queue", "point"),
    [
        ("supplier-sync", "supplier.arrivals_step.Arrivals._commit:before-commit"),
        ("product-family", "family.stage.FamilyStage._commit:before-commit"),
        ("image-upload", "image.stage.ImageStage._commit:before-commit"),
    ],
)
@pytest.mark.chaos
async def test_a_worker_frozen_in_its_commit_holds_nobody_up_and_commits_nothing_when_woken(
    servers: Servers, tmp_path: Path, queue: str, point: str
) -> None:
    feed = SampleFeed(FeedSpec.small(count=1, families=5, variants=2, oddities=False))
    async with worker_stack(servers, tmp_path, feed, lease_s=3) as workers:
        frozen = workers.spawn(queue, PROMIDATA_FAILPOINT=f"{point}!")
        await workers.ready()
        for name in QUEUE_NAMES:
            if name != queue:
                workers.spawn(name)
        await workers.start()
        await until(frozen.is_frozen)
        workers.spawn(queue)
        await workers.over()
        await until(lambda: workers.stack.rows("SELECT 1 WHERE NOT EXISTS (SELECT FROM changes WHERE seq IS NULL)"))
        before = await _everything(workers.stack)
        frozen.thaw()
        await asyncio.sleep(4)
        assert await _everything(workers.stack) == before
        await assert_as_if_nothing_had_happened(workers.stack)
        assert frozen.running, frozen.said()
        await _works_alone(workers, frozen)


async def _works_alone(workers: Workers, woken: WorkerProcess) -> None:
    for worker in workers.of(woken.queue):
        if worker is not woken:
            worker.kill()
    await workers.start(force=True)
    await workers.over()
    await assert_nothing_left_over(workers.stack)


async def _everything(stack: Stack) -> list[dict[str, object]]:
    return await stack.rows(
        """SELECT 'jobs' AS what, CAST(j AS text) FROM jobs j UNION ALL SELECT 'runs', CAST(r AS text) FROM runs r
        UNION ALL SELECT 'changes', CAST(c AS text) FROM changes c
        UNION ALL SELECT 'media', CAST(m AS text) FROM media m
        UNION ALL SELECT 'variants', CAST(v AS text) FROM variants v
        UNION ALL SELECT 'documents', CAST(d AS text) FROM documents d ORDER BY 1, 2"""
    )


@pytest.mark.chaos
async def test_a_job_that_kills_its_worker_each_time_fails_alone_and_the_run_ends(
    servers: Servers, tmp_path: Path
) -> None:
    feed = SampleFeed(FeedSpec.small(count=1, families=6, variants=2, oddities=False))
    async with worker_stack(servers, tmp_path, feed, lease_s=1) as workers:
        killer = list(feed.entries("A23"))[2].file_name.removesuffix(".json")
        workers.standing = {"PROMIDATA_FAILPOINT": f"start.{killer}"}
        workers.spawn_all()
        await workers.start("A23")
        async with asyncio.TaskGroup() as group:
            replacing = group.create_task(workers.keep_alive())
            (run,) = await workers.over(300)
            replacing.cancel()
        assert run["status"] == "completed_with_errors"
        assert (run["families_failed"], run["families_completed"]) == (1, 5)
        assert "died 10 times" in run["error"]
        await assert_nothing_left_over(workers.stack)
        (failed,) = await workers.stack.rows("SELECT args, deaths FROM jobs WHERE state = 'failed'")
        assert (failed["args"]["family_sku"], failed["deaths"]) == (killer, 10)
        assert len([worker for worker in workers.all if worker.queue == PRODUCT_FAMILY]) >= 10
