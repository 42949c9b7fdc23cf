"""Redis, PostgreSQL or the object store is away in the middle of a sync: it waits, goes on, and spends no attempt.

Each has a short form and its full length.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.coordination.heartbeats import live_workers
from app.errors import DatabaseUnavailable, QueueUnavailable
from app.samplefeed import FeedSpec, SampleFeed
from app.sync.operating.suppliers import create_supplier
from app.views.bodies import NewSupplier
from tests.support import troubles
from tests.support.fault_proxy import fault_proxy
from tests.support.s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY, moto_server
from tests.support.stack import Servers, own_postgres, own_valkey
from tests.support.truth import assert_as_if_nothing_had_happened, assert_redis_forgets, stored_products
from tests.support.worker_stack import Workers, until, worker_stack

Outage = Callable[..., Awaitable[None]]


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
        await workers.over()
        await assert_as_if_nothing_had_happened(workers.stack)
        for worker in workers.all:
            assert worker.running, worker.said()


async def flushed_redis(servers: Servers, folder: Path, *, whole: bool) -> None:
    with own_valkey(servers, folder) as own:
        async with under_way(own, folder, whole=whole) as workers, troubles.at_redis(own) as redis:
            await troubles.flush_all(redis, times=6 if whole else 1, every_s=1.5)
            await workers.over()
            await assert_redis_forgets(workers.stack)


async def scripts_and_keys_vanish(servers: Servers, folder: Path, *, whole: bool) -> None:
    with own_valkey(servers, folder) as own:
        async with under_way(own, folder, whole=whole), troubles.at_redis(own) as redis:
            await troubles.flush_scripts(redis, times=10 if whole else 2, every_s=0.2)
            await troubles.delete_keys(redis, times=30 if whole else 4, every_s=0.25)


async def redis_is_a_replica(servers: Servers, folder: Path, *, whole: bool) -> None:
    with own_valkey(servers, folder) as own:
        async with under_way(own, folder, whole=whole) as workers, troubles.at_redis(own) as redis:
            replica = asyncio.create_task(troubles.be_replica(redis, 20 if whole else 2))
            await asyncio.sleep(0.5)
            with pytest.raises(QueueUnavailable, match="refuses writes"):
                await workers.start()
            await replica


async def redis_comes_back_empty(servers: Servers, folder: Path, *, whole: bool) -> None:
    with own_valkey(servers, folder) as own:
        async with under_way(own, folder, whole=whole) as workers:
            down = asyncio.create_task(troubles.redis_down(own, folder, 15 if whole else 1))
            await asyncio.sleep(0.5)
            with pytest.raises(QueueUnavailable):
                await workers.start()
            await stored_products(workers.stack, "A23")
            await down


async def redis_falls_silent(servers: Servers, folder: Path, *, whole: bool) -> None:
    with own_valkey(servers, folder) as own:
        async with under_way(own, folder, whole=whole):
            with troubles.frozen(own.valkey.pid):
                await asyncio.sleep(20 if whole else 3)


async def idle_while_redis_is_down(servers: Servers, folder: Path, *, whole: bool) -> None:
    """CASES.md B1: workers take a new sync within five seconds of the return, and show that they live."""
    with own_valkey(servers, folder) as own:
        async with worker_stack(own, folder) as workers:
            workers.spawn_all()
            await workers.ready()
            await asyncio.sleep(1)
            await troubles.redis_down(own, folder, 90 if whole else 3)
            await workers.start("A23")
            await until(lambda: workers.stack.rows("SELECT 1 FROM runs WHERE started_at IS NOT NULL"), 20)
            await workers.over()
            await until(lambda: _all_beat(workers), 20)


async def _all_beat(workers: Workers) -> bool:
    assert workers.stack.services.queue is not None
    beats = await live_workers(workers.stack.services.queue.redis)
    return {beat.pid for beat in beats} == {worker.pid for worker in workers.all}


async def postgres_is_stopped(servers: Servers, folder: Path, *, whole: bool) -> None:
    async with own_postgres(servers, folder) as own, under_way(own, folder, whole=whole) as workers:
        down = asyncio.create_task(troubles.postgres_down(own, folder, 30 if whole else 2))
        await asyncio.sleep(1)
        with pytest.raises(DatabaseUnavailable):
            await workers.start()
        await down


async def postgres_falls_silent(servers: Servers, folder: Path, *, whole: bool) -> None:
    async with own_postgres(servers, folder) as own, under_way(own, folder, whole=whole):
        with troubles.frozen(own.postgres.pid):
            await asyncio.sleep(35 if whole else 3)


async def connections_are_terminated(servers: Servers, folder: Path, *, whole: bool) -> None:
    async with under_way(servers, folder, whole=whole) as workers:
        await troubles.terminate_connections(servers, workers, times=30 if whole else 4, every_s=0.3)


async def postgres_only_reads(servers: Servers, folder: Path, *, whole: bool) -> None:
    async with under_way(servers, folder, whole=whole) as workers, troubles.read_only(servers, workers):
        with pytest.raises(DatabaseUnavailable):
            await create_supplier(workers.stack.services.database, NewSupplier(code="B1"))
        (known,) = await workers.start()
        assert not known.started, "what is under way is found by reading alone"
        await stored_products(workers.stack, "A23")
        await asyncio.sleep(30 if whole else 2)


async def store_is_unavailable(servers: Servers, folder: Path, *, whole: bool) -> None:
    with moto_server() as endpoint:
        async with fault_proxy(endpoint) as proxy:
            bucket = {
                "s3_endpoint_url": proxy.endpoint,
                "s3_bucket": BUCKET,
                "s3_access_key_id": ACCESS_KEY,
                "s3_secret_access_key": SECRET_KEY,
                "s3_region": "us-east-1",
            }
            async with under_way(servers, folder, whole=whole, **bucket):
                proxy.strike("unavailable")
                await asyncio.sleep(30 if whole else 2)
                assert proxy.seen > 0
                proxy.strike("none")


OUTAGES = (
    idle_while_redis_is_down,
    postgres_falls_silent,
    postgres_is_stopped,
    postgres_only_reads,
    store_is_unavailable,
    redis_falls_silent,
    redis_is_a_replica,
    redis_comes_back_empty,
    flushed_redis,
    scripts_and_keys_vanish,
    connections_are_terminated,
)


@pytest.mark.chaos
@pytest.mark.parametrize("outage", [flushed_redis, postgres_is_stopped, store_is_unavailable])
async def test_a_short_outage_is_waited_out(servers: Servers, tmp_path: Path, outage: Outage) -> None:
    await outage(servers, tmp_path, whole=False)


@pytest.mark.chaos
@pytest.mark.parametrize("outage", OUTAGES)
async def test_each_outage_at_its_full_length_is_waited_out(servers: Servers, tmp_path: Path, outage: Outage) -> None:
    await outage(servers, tmp_path, whole=True)
