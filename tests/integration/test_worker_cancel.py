"""A run is cancelled in each of its phases: soon nothing asks the origin, and the next sync brings the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.samplefeed import FeedSpec, SampleFeed
from app.sync.operating.by_hand import cancel_run, pause, resume
from tests.support.stack import Servers
from tests.support.truth import (
    assert_catalogue_equals_feed,
    assert_nothing_left_over,
    assert_store_equals_feed,
)
from tests.support.worker_stack import Workers, until, worker_stack


async def _in_the_documents(workers: Workers) -> None:
    workers.stack.server.habits.latency_s = 0.5
    await workers.start()
    await until(lambda: workers.stack.server.log.counts.get("document", 0) > 1)


async def _with_a_paused_family_queue(workers: Workers) -> None:
    await pause(workers.stack.services, "product-family")
    await workers.start()
    await until(lambda: workers.stack.rows("SELECT 1 FROM jobs WHERE queue = 'supplier-sync' AND state = 'completed'"))
    waiting = await workers.stack.rows("SELECT state FROM jobs WHERE queue = 'product-family'")
    assert {row["state"] for row in waiting} == {"waiting"}


async def _in_the_pictures(workers: Workers) -> None:
    workers.stack.server.faults.add("picture", "slow", seconds=30)
    await workers.start()
    await until(lambda: workers.stack.server.log.counts.get("picture", 0) > 1)


async def _while_jobs_are_delayed(workers: Workers) -> None:
    workers.stack.server.faults.add("picture", "status", status=503, retry_after="60")
    await workers.start()
    await until(lambda: workers.stack.rows("SELECT 1 FROM jobs WHERE state = 'delayed'"))


@pytest.mark.parametrize(
    "reach",
    [
        _in_the_pictures,
        *[
            pytest.param(reach, marks=pytest.mark.chaos)
            for reach in (_in_the_documents, _with_a_paused_family_queue, _while_jobs_are_delayed)
        ],
    ],
)
async def test_a_cancelled_run_stops_and_the_next_sync_brings_what_it_left_out(
    servers: Servers, tmp_path: Path, reach: Callable[[Workers], Awaitable[None]]
) -> None:
    feed = SampleFeed(FeedSpec.small(count=1, families=8, variants=2, oddities=False))
    async with worker_stack(servers, tmp_path, feed, concurrency_documents=2) as workers:
        workers.spawn_all()
        await workers.ready()
        await reach(workers)
        (run,) = await workers.stack.rows("SELECT id FROM runs")
        await cancel_run(workers.stack.services, str(run["id"]))
        (ended,) = await workers.over()
        assert ended["status"] == "cancelled"
        await resume(workers.stack.services, "product-family")
        await _nothing_happens(workers)
        workers.stack.server.faults.clear()
        workers.stack.server.habits.latency_s = 0
        await workers.start()
        runs = await workers.over()
        assert [one["status"] for one in runs] == ["completed", "cancelled"]
        await assert_nothing_left_over(workers.stack)
        await assert_catalogue_equals_feed(workers.stack)
        await assert_store_equals_feed(workers.stack)


async def _nothing_happens(workers: Workers, for_s: float = 2.0) -> None:
    workers.stack.server.log.reset()
    before = await workers.stack.rows("SELECT id, state, started_at FROM jobs ORDER BY id")
    await asyncio.sleep(for_s)
    assert dict(workers.stack.server.log.counts) == {}
    assert await workers.stack.rows("SELECT id, state, started_at FROM jobs ORDER BY id") == before


@pytest.mark.chaos
async def test_cancelled_fifty_times_nothing_stays_taken(servers: Servers, tmp_path: Path) -> None:
    """CASES.md B3, the workers' half of it."""
    feed = SampleFeed(FeedSpec.small(count=1, families=6, variants=2, oddities=False))
    async with worker_stack(servers, tmp_path, feed) as workers:
        workers.spawn_all()
        await workers.ready()
        workers.stack.server.habits.latency_s = 5
        for _ in range(50):
            (started,) = await workers.start()
            await until(lambda: workers.stack.rows("SELECT 1 FROM jobs WHERE state = 'active'"))
            await cancel_run(workers.stack.services, started.run_id)
            await workers.over()
        workers.stack.server.habits.latency_s = 0
        await workers.start()
        runs = await workers.over()
        assert runs[0]["status"] == "completed"
        await assert_catalogue_equals_feed(workers.stack)
        await until(lambda: _nothing_is_taken(workers))


async def _nothing_is_taken(workers: Workers) -> bool:
    """No session of PostgreSQL is in a statement or a transaction, but the one that asks."""
    return not await workers.stack.value(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"
    )
