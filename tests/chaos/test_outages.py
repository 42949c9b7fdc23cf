"""Redis, PostgreSQL or the object store is away in the middle of a sync: it waits, goes on, and spends no attempt.

Each trouble has a short form in the ordinary suite and one of its full length here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.coordination.heartbeats import live_workers
from app.errors import DatabaseUnavailable, QueueUnavailable
from app.samplefeed import FeedSpec, SampleFeed
from tests.support import troubles
from tests.support.fault_proxy import fault_proxy
from tests.support.s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY, moto_server
from tests.support.stack import Servers, own_postgres, own_valkey
from tests.support.truth import assert_as_if_nothing_had_happened, assert_redis_forgets, stored_products
from tests.support.worker_stack import Workers, until, worker_stack

Trouble = Callable[[Servers, Workers, Path], Awaitable[None]]
LENGTHS = [pytest.param(False, id="short"), pytest.param(True, id="whole", marks=pytest.mark.chaos)]


@asynccontextmanager
async def under_way(servers: Servers, folder: Path, *, whole: bool, **settings: Any) -> AsyncIterator[Workers]:
    """A sync that has reached its pictures, and that must end as if nothing had happened."""
    feed = SampleFeed(FeedSpec.small(count=1, families=30 if whole else 8, variants=3, oddities=False))
    async with worker_stack(servers, folder, feed, lease_s=10 if whole else 2, **settings) as workers:
        workers.stack.server.habits.latency_s = 0.3 if whole else 0.15
        workers.spawn_all()
        await workers.ready()
        await workers.start()
        await until(lambda: workers.stack.server.log.counts.get("picture", 0) > 0)
        yield workers
        await workers.over(120)
        await assert_as_if_nothing_had_happened(workers.stack)
        for worker in workers.all:
            assert worker.running, worker.said()


@pytest.mark.parametrize("whole", LENGTHS)
async def test_flushed_redis(servers: Servers, tmp_path: Path, whole: bool) -> None:
    async with under_way(servers, tmp_path, whole=whole) as workers, troubles.at_redis(servers) as redis:
        await troubles.flush_all(redis, times=6 if whole else 1, every_s=1.5)
        await workers.over(120)
        await assert_redis_forgets(workers.stack)


@pytest.mark.parametrize("whole", LENGTHS)
async def test_scripts_and_keys_that_vanish(servers: Servers, tmp_path: Path, whole: bool) -> None:
    async with under_way(servers, tmp_path, whole=whole), troubles.at_redis(servers) as redis:
        await troubles.flush_scripts(redis, times=10 if whole else 2, every_s=0.2)
        await troubles.delete_keys(redis, times=30 if whole else 4, every_s=0.25)


@pytest.mark.parametrize("whole", LENGTHS)
async def test_a_redis_that_is_a_read_only_replica(servers: Servers, tmp_path: Path, whole: bool) -> None:
    async with under_way(servers, tmp_path, whole=whole) as workers, troubles.at_redis(servers) as redis:
        replica = asyncio.create_task(troubles.be_replica(redis, 20 if whole else 2))
        await asyncio.sleep(0.5)
        with pytest.raises(QueueUnavailable, match="refuses writes"):
            await workers.start()
        await replica


@pytest.mark.parametrize("whole", LENGTHS)
async def test_a_redis_that_is_killed_and_comes_back_empty(servers: Servers, tmp_path: Path, whole: bool) -> None:
    with own_valkey(servers, tmp_path) as own:
        async with under_way(own, tmp_path, whole=whole) as workers:
            down = asyncio.create_task(troubles.redis_down(own, tmp_path, 15 if whole else 1))
            await asyncio.sleep(0.5)
            with pytest.raises(QueueUnavailable):
                await workers.start()
            await stored_products(workers.stack, "A23")
            await down


@pytest.mark.chaos
async def test_a_redis_that_is_cut_off_silently(servers: Servers, tmp_path: Path) -> None:
    with own_valkey(servers, tmp_path) as own:
        async with under_way(own, tmp_path, whole=True):
            with troubles.frozen(own.valkey.pid):
                await asyncio.sleep(20)


@pytest.mark.parametrize("down_s", [3, pytest.param(90, marks=pytest.mark.chaos)])
async def test_idle_workers_work_again_within_five_seconds_of_redis_coming_back(
    servers: Servers, tmp_path: Path, down_s: float
) -> None:
    """CASES.md B1."""
    with own_valkey(servers, tmp_path) as own:
        async with worker_stack(own, tmp_path) as workers:
            workers.spawn_all()
            await workers.ready()
            await asyncio.sleep(1)
            await troubles.redis_down(own, tmp_path, down_s)
            back_at = time.monotonic()
            await workers.start("A23")
            await until(lambda: workers.stack.rows("SELECT 1 FROM runs WHERE started_at IS NOT NULL"), 5)
            assert time.monotonic() - back_at < 5
            await workers.over()
            await until(lambda: _all_beat(workers), 5)


@pytest.mark.parametrize("whole", LENGTHS)
async def test_a_postgresql_that_is_stopped(servers: Servers, tmp_path: Path, whole: bool) -> None:
    async with own_postgres(servers, tmp_path) as own, under_way(own, tmp_path, whole=whole) as workers:
        down = asyncio.create_task(troubles.postgres_down(own, tmp_path, 30 if whole else 2))
        await asyncio.sleep(1)
        with pytest.raises(DatabaseUnavailable):
            await workers.start()
        await down


@pytest.mark.chaos
async def test_a_postgresql_that_stands_still(servers: Servers, tmp_path: Path) -> None:
    async with own_postgres(servers, tmp_path) as own, under_way(own, tmp_path, whole=True):
        with troubles.frozen(own.postgres.pid):
            await asyncio.sleep(35)


@pytest.mark.parametrize("whole", LENGTHS)
async def test_terminated_connections(servers: Servers, tmp_path: Path, whole: bool) -> None:
    async with under_way(servers, tmp_path, whole=whole) as workers:
        await troubles.terminate_connections(servers, workers, times=30 if whole else 4, every_s=0.3)


@pytest.mark.parametrize("whole", LENGTHS)
async def test_a_postgresql_that_only_reads(servers: Servers, tmp_path: Path, whole: bool) -> None:
    async with under_way(servers, tmp_path, whole=whole) as workers:
        reading = asyncio.create_task(troubles.read_only(servers, workers, 30 if whole else 2))
        await asyncio.sleep(1)
        with pytest.raises(DatabaseUnavailable):
            await workers.start()
        await stored_products(workers.stack, "A23")
        await reading


@pytest.mark.parametrize("whole", LENGTHS)
async def test_an_object_store_that_is_unavailable(servers: Servers, tmp_path: Path, whole: bool) -> None:
    with moto_server() as endpoint:
        async with fault_proxy(endpoint) as proxy:
            bucket = {
                "s3_endpoint_url": proxy.endpoint,
                "s3_bucket": BUCKET,
                "s3_access_key_id": ACCESS_KEY,
                "s3_secret_access_key": SECRET_KEY,
                "s3_region": "us-east-1",
            }
            async with under_way(servers, tmp_path, whole=whole, **bucket):
                proxy.strike("unavailable")
                await asyncio.sleep(30 if whole else 3)
                assert proxy.seen > 0
                proxy.strike("none")


async def _all_beat(workers: Workers) -> bool:
    assert workers.stack.services.queue is not None
    beats = await live_workers(workers.stack.services.queue.redis)
    return {beat.pid for beat in beats} == {worker.pid for worker in workers.all}
