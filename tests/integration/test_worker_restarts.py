"""Workers are asked to stop, roll, and start with wrong clocks: a sync does not notice."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.coordination.heartbeats import live_workers
from app.samplefeed import FeedSpec, SampleFeed
from tests.support.stack import Servers
from tests.support.truth import assert_as_if_nothing_had_happened, assert_redis_forgets
from tests.support.worker_stack import QUEUE_NAMES, Workers, until, worker_stack

pytestmark = pytest.mark.chaos
GRACE_S = 10.0
SHIFTED = """
import datetime, time
class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds={shift_s})
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + {shift_s}
time.time_ns = lambda: real_ns() + {shift_s} * 10**9
datetime.datetime = Shifted
"""


async def _pictures_under_way(workers: Workers, more: int = 1) -> None:
    now = workers.stack.server.log.counts.get("picture", 0)
    await until(lambda: workers.stack.server.log.counts.get("picture", 0) >= now + more)


async def _stop_all(workers: Workers) -> float:
    """SIGTERM to all; all exit with 0; returns how long it took in seconds."""
    began = time.monotonic()
    leaving = [worker for worker in workers.all if worker.running]
    for worker in leaving:
        worker.replaced = True
        worker.terminate()
    for worker in leaving:
        assert await worker.exit_code(GRACE_S) == 0, worker.said()
    return time.monotonic() - began


async def test_all_stop_in_the_middle_and_start_again_as_if_nothing_had_happened(
    servers: Servers, tmp_path: Path
) -> None:
    feed = SampleFeed(FeedSpec.small(count=1, families=12, variants=3, oddities=False))
    async with worker_stack(servers, tmp_path, feed) as workers:
        workers.stack.server.habits.latency_s = 0.15
        workers.spawn_all()
        await workers.start()
        await _pictures_under_way(workers)
        assert await _stop_all(workers) < GRACE_S
        assert workers.stack.services.queue is not None
        assert await live_workers(workers.stack.services.queue.redis) == []
        assert await workers.stack.rows("SELECT 1 FROM jobs WHERE state = 'active'") == []
        assert await workers.stack.rows("SELECT 1 FROM runs WHERE status = 'running'")
        workers.spawn_all()
        await workers.over()
        await assert_as_if_nothing_had_happened(workers.stack)
        assert await workers.stack.value("SELECT max(deaths) FROM jobs") == 0


async def test_a_second_sigterm_hands_back_at_once(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path, shutdown_grace_s=300) as workers:
        workers.stack.server.faults.add("picture", "slow", seconds=300)
        workers.spawn_all()
        await workers.start("A23")
        await _pictures_under_way(workers)
        (images,) = workers.of("image-upload")
        images.terminate()
        await until(lambda: "draining" in images.said())
        images.terminate()
        assert await images.exit_code(60) == 0  # far from the end of the picture and of the grace period
        rows = await workers.stack.rows(
            "SELECT DISTINCT state, attempts, deaths, started_at FROM jobs WHERE finished_at IS NULL"
        )
        assert [dict(row) for row in rows] == [{"state": "waiting", "attempts": 0, "deaths": 0, "started_at": None}]
        workers.stack.server.faults.clear()
        workers.spawn("image-upload")
        await workers.over()
        await assert_redis_forgets(workers.stack)


async def test_a_time_out_while_draining_spends_no_attempt(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path, job_timeout_image_ms=3000) as workers:
        workers.stack.server.faults.add("picture", "slow", seconds=30)
        workers.spawn_all()
        await workers.start("A23")
        await _pictures_under_way(workers)
        (images,) = workers.of("image-upload")
        images.terminate()
        assert await images.exit_code() == 0
        assert await workers.stack.value("SELECT max(attempts) FROM jobs") == 0
        assert await workers.stack.rows("SELECT 1 FROM jobs WHERE state = 'waiting' AND queue = 'image-upload'")


async def test_six_rolling_restarts_during_one_sync_spend_nothing(servers: Servers, tmp_path: Path) -> None:
    feed = SampleFeed(FeedSpec.small(count=1, families=60, variants=3, oddities=False))
    async with worker_stack(servers, tmp_path, feed, concurrency_documents=4) as workers:
        workers.stack.server.habits.latency_s = 1.5
        workers.spawn_all()
        await workers.ready()
        await workers.start()
        for _ in range(6):
            for queue in QUEUE_NAMES:
                (old,) = workers.of(queue)
                began = time.monotonic()
                await workers.ready([workers.spawn(queue)])
                # As many pictures pass during a restart on a busy machine as on a quiet one: the sync outlasts them.
                workers.stack.server.habits.latency_s = min(max(1.5, time.monotonic() - began), 6.0)
                old.replaced = True
                old.terminate()
                assert await old.exit_code(GRACE_S) == 0, old.said()
        assert await workers.stack.rows("SELECT 1 FROM runs WHERE status = 'running'"), "too quick"
        workers.stack.server.habits.latency_s = 0.05
        await workers.over()
        await assert_as_if_nothing_had_happened(workers.stack)
        assert await workers.stack.value("SELECT max(deaths) FROM jobs") == 0


@pytest.mark.parametrize("shift_s", [600, -600])
async def test_no_decision_rests_on_a_workers_clock(servers: Servers, tmp_path: Path, shift_s: int) -> None:
    """CASES.md C2: nothing early, late or twice, and a killed worker's jobs are back in time."""
    async with worker_stack(servers, tmp_path, lease_s=2, retry_backoff_s=2) as workers:
        workers.prelude = SHIFTED.format(shift_s=shift_s)
        workers.stack.server.faults.add("picture", "status", status=503, times=1)
        workers.stack.server.faults.add("picture", "slow", seconds=1.5, times=15)
        workers.spawn_all()
        await workers.start("A23")
        await until(lambda: workers.stack.rows("SELECT 1 FROM jobs WHERE state = 'delayed'"))
        await _pictures_under_way(workers, more=0)
        (images,) = workers.of("image-upload")
        images.kill()
        workers.replace_dead()
        await workers.over()
        (retried,) = await workers.stack.rows(
            """SELECT CAST(EXTRACT(epoch FROM finished_at - CAST(errors -> 0 ->> 'at' AS timestamptz)) AS float)
                AS later
            FROM jobs WHERE attempts = 1"""
        )
        assert 1.4 < retried["later"] < 15
        (run,) = await workers.stack.rows("SELECT * FROM runs")
        assert run["status"] == "completed"
        now = await workers.stack.rows(
            "SELECT 1 FROM jobs WHERE abs(EXTRACT(epoch FROM finished_at - clock_timestamp())) > 60"
        )
        assert now == []
        queue = workers.stack.services.queue
        assert queue is not None
        beats = await live_workers(queue.redis, queue.keys)
        shown = [datetime.fromisoformat(at) for beat in beats for at in (beat.started_at, beat.last_heartbeat_at)]
        assert len(shown) >= 2 * 3
        assert max(abs(datetime.now(UTC) - at) for at in shown) < timedelta(minutes=2), (
            "it is Redis's clock that is shown"
        )


async def test_a_worker_in_the_same_place_is_another_one(servers: Servers, tmp_path: Path) -> None:
    """CASES.md C2: identity is random a start, not host name and pid."""
    async with worker_stack(servers, tmp_path) as workers:
        queue = workers.stack.services.queue
        assert queue is not None
        first = workers.spawn("image-upload")
        await workers.ready()
        await until(lambda: live_workers(queue.redis))
        (before,) = await live_workers(queue.redis)
        first.kill()
        workers.replace_dead()
        await workers.ready([workers.all[-1]])
        await asyncio.sleep(0.5)
        ids = {beat.id for beat in await live_workers(queue.redis)}
        assert len(ids - {before.id}) == 1
        await until(lambda: _is_gone(workers, before.id), 10)


async def _is_gone(workers: Workers, worker_id: str) -> bool:
    assert workers.stack.services.queue is not None
    return worker_id not in {beat.id for beat in await live_workers(workers.stack.services.queue.redis)}
