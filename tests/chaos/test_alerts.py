"""Every alert on real processes: its cause is made to happen, and Prometheus itself says what fires.

    API, a worker a queue ◀─ scraped ─ Prometheus with the deployed rules, a minute lasting a second (tests/support)

The causes come in four groups, those of one group at the same time; each alert names its queue or supplier, so it is
seen which one fired for which. Beside a group's own alerts nothing may fire, and nothing at all during a healthy sync.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from app.persistence.database_address import database_url
from app.samplefeed import FeedSpec, SampleFeed
from tests.support.api_process import api_process
from tests.support.databases import database_named, execute
from tests.support.plain_http import plain_client
from tests.support.prometheus import Prometheus, rules, running_prometheus
from tests.support.receiver import free_port
from tests.support.scraped import metrics_address
from tests.support.stack import Servers
from tests.support.worker_stack import Workers, environment_of, until, worker_stack

REFUSALS = {"PromidataDatabaseRefusing", "PromidataStorageRefusing", "PromidataRedisRefusing"}
STANDING = {
    "PromidataNoWorker image-upload",
    "PromidataQueueStuck image-upload",
    "PromidataQueueStuck product-family",
}
DOWN = {"PromidataApiDown"}
GRACE_S = 60.0
"""For what takes seconds on a machine that does nothing else."""


@dataclass(frozen=True)
class Watched:
    """What runs, and who watches it. The first supplier of the feed is synced, the second too; two are new."""

    servers: Servers
    workers: Workers
    prometheus: Prometheus
    api: httpx.AsyncClient
    api_pid: int

    @property
    def suppliers(self) -> tuple[str, ...]:
        return self.workers.stack.feed.suppliers()

    async def call(self, path: str, **body: object) -> None:
        answer = await self.api.post(f"/api/v1{path}", json=body)
        assert answer.status_code in {200, 202}, answer.text

    async def fires(self, expected: set[str], since: float, besides: frozenset[str] = frozenset()) -> None:
        """Wait until all of `expected` fire at once; nothing else has since."""
        await until(lambda: self._has(expected), GRACE_S, every_s=0.3)
        fired = await self.prometheus.fired_within(int(time.monotonic() - since))
        assert fired - besides == expected

    async def _has(self, expected: set[str]) -> bool:
        return expected <= await self.prometheus.firing()

    async def begin(self) -> float:
        """Wait until all four are scraped and nothing fires; when that was."""

        async def quiet() -> bool:
            scraped = await self.prometheus.query("count(up == 1) == 4")
            return bool(scraped) and not await self.prometheus.firing()

        await until(quiet, GRACE_S, every_s=0.3)
        await asyncio.sleep(1)
        return time.monotonic()


@asynccontextmanager
async def watched(servers: Servers, folder: Path) -> AsyncIterator[Watched]:
    feed = SampleFeed(FeedSpec.small(count=4, families=5, variants=3, oddities=False))
    async with AsyncExitStack() as opened:
        workers = await opened.enter_async_context(worker_stack(servers, folder, feed, metrics_port=free_port()))
        await workers.ready(workers.spawn_all())
        environment = environment_of(workers.stack.settings)
        address, pid = await opened.enter_async_context(api_process(folder, environment))
        targets = {
            "api": [address.removeprefix("http://")],
            "workers": [metrics_address(worker) for worker in workers.all],
        }
        prometheus = await opened.enter_async_context(running_prometheus(folder, targets))
        api = await opened.enter_async_context(plain_client(base_url=address, timeout=20))
        yield Watched(servers, workers, prometheus, api, pid)


@pytest.mark.chaos
@pytest.mark.prometheus
async def test_each_alert_fires_for_its_cause_and_none_in_a_healthy_sync(servers: Servers, tmp_path: Path) -> None:
    async with watched(servers, tmp_path) as world:
        await a_healthy_sync(world)
        await parts_that_refuse_writes(world)
        feed = await what_stands_still(world)
        feed |= await what_the_feed_does(world)
        await no_api(world, besides=frozenset(feed))
    named = {name.partition(" ")[0] for name in REFUSALS | STANDING | DOWN | feed}
    assert named == {rule["alert"] for rule in rules()}


async def a_healthy_sync(world: Watched) -> None:
    began = await world.begin()
    for supplier in world.suppliers[:2]:
        await world.call("/sync", supplierId=supplier)
    await world.workers.over()

    async def seen() -> bool:
        found = await world.prometheus.query(
            'sum(promidata_run_seconds_count{result="completed"}) + 10 * count(up == 1)'
        )
        return [float(sample["value"][1]) for sample in found] == [42]  # two runs, four targets

    await until(seen, GRACE_S, every_s=0.3)
    await asyncio.sleep(4)  # longer than any rule that looks at the present waits
    assert await world.prometheus.fired_within(int(time.monotonic() - began)) == set()


async def parts_that_refuse_writes(world: Watched) -> None:
    """PostgreSQL is read-only, Redis lacks a replica to write to, a file stands where the store's folder should."""
    began = await world.begin()
    async with a_read_only_database(world), a_redis_without_its_replica(world), a_store_that_is_no_folder(world):
        await world.fires(REFUSALS, began)


@asynccontextmanager
async def a_read_only_database(world: Watched) -> AsyncIterator[None]:
    url, own = world.servers.postgres.url, str(await world.workers.stack.value("SELECT current_database()"))
    elsewhere = database_named(url, "postgres")
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{own}'"
    await execute(elsewhere, f"ALTER DATABASE {own} SET default_transaction_read_only = on")
    await execute(elsewhere, end)
    try:
        yield
    finally:
        await execute(elsewhere, f"ALTER DATABASE {own} RESET default_transaction_read_only")
        await execute(elsewhere, end)


@asynccontextmanager
async def a_redis_without_its_replica(world: Watched) -> AsyncIterator[None]:
    async with Redis.from_url(world.servers.valkey.url) as redis:
        await redis.config_set("min-replicas-to-write", 1)
        try:
            yield
        finally:
            await redis.config_set("min-replicas-to-write", 0)


@asynccontextmanager
async def a_store_that_is_no_folder(world: Watched) -> AsyncIterator[None]:
    incoming = world.workers.stack.settings.data_dir / "media" / ".incoming"
    aside = incoming.with_name(".aside")
    incoming.rename(aside)
    incoming.write_bytes(b"")
    try:
        yield
    finally:
        incoming.unlink()
        aside.rename(incoming)


async def what_stands_still(world: Watched) -> set[str]:
    """The image worker is killed with pictures to come; another queue is paused, and its run moved four hours back."""
    feed, (first, second, *_) = world.workers.stack.feed, world.suppliers
    too_long = f"PromidataRunTooLong {first}"
    began = await world.begin()
    (image,) = world.workers.of("image-upload")
    image.kill()
    for entry in list(feed.entries(second)):
        feed.swap_picture(entry.file_name.removesuffix(".json"))
    await world.call("/sync", supplierId=second)
    await until(lambda: has_jobs(world, "image-upload", second))
    await world.call("/queues/product-family/pause")
    for entry in list(feed.entries(first)):
        feed.rename(entry.file_name.removesuffix(".json"))
    await world.call("/sync", supplierId=first)
    await until(lambda: has_jobs(world, "product-family", first))
    await execute(database_url(world.workers.stack.settings), MOVED_BACK.format(first))
    # the second supplier's run waits for its pictures; the first one's was moved back alone
    await world.fires(STANDING | {too_long}, began)
    await world.call("/queues/product-family/resume")
    await world.workers.ready([world.workers.spawn("image-upload")])
    await world.workers.over()
    return {too_long}


MOVED_BACK = """
UPDATE runs SET created_at = created_at - interval '4 hours' WHERE finished_at IS NULL
  AND supplier_id = (SELECT id FROM suppliers WHERE code = '{}')
"""
OPEN_JOBS = """
SELECT count(*) FROM jobs j JOIN suppliers s ON s.id = j.supplier_id
WHERE j.queue = :queue AND s.code = :supplier AND j.state IN ('waiting', 'active', 'delayed')
"""


async def has_jobs(world: Watched, queue: str, supplier: str) -> bool:
    return bool(await world.workers.stack.value(OPEN_JOBS, queue=queue, supplier=supplier))


async def what_the_feed_does(world: Watched) -> set[str]:
    """A supplier's part of the manifest is empty, another's documents are away, a third one's pictures are gone.

    And somebody's session holds the row by which changes are numbered.
    """
    stack, (_, emptied, failing, bare) = world.workers.stack, world.suppliers
    began = await world.begin()
    stack.feed.hide_supplier(emptied)
    for entry in stack.feed.entries(failing):
        stack.server.faults.add(f"*{entry.path}", "status", status=503)
    stack.server.faults.add("picture", "status", status=404)
    expected = {
        f"PromidataGuardTripped {emptied}",
        f"PromidataFeedFailing {failing}",
        "PromidataFailureRate image-upload",
        "PromidataChangeFeedBehind",
    }
    async with a_held_row(world):
        for supplier in (emptied, failing, bare):
            await world.call("/sync", supplierId=supplier)
        await world.fires(expected, began)
    return expected


@asynccontextmanager
async def a_held_row(world: Watched) -> AsyncIterator[None]:
    connection = await asyncpg.connect(database_url(world.workers.stack.settings).replace("+asyncpg", ""))
    try:
        async with connection.transaction():
            await connection.execute("SELECT seq FROM change_head FOR UPDATE")
            yield
    finally:
        await connection.close()


async def no_api(world: Watched, besides: frozenset[str]) -> None:
    """Nothing new fires beside it: whatever else is known comes from the API."""
    began = time.monotonic()
    os.kill(world.api_pid, signal.SIGKILL)
    await world.fires(DOWN, began, besides)
