"""What may happen to Redis, PostgreSQL and the object store during a sync, each for as long as a test says."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.support.databases import database_named
from tests.support.stack import Servers, postgres_again, valkey_again
from tests.support.worker_stack import Workers


@asynccontextmanager
async def at_redis(servers: Servers) -> AsyncIterator[Redis]:
    """A connection of the test's own."""
    redis = Redis.from_url(servers.valkey.url)
    try:
        yield redis
    finally:
        await redis.aclose()


async def flush_all(redis: Redis, times: int, every_s: float) -> None:
    for _ in range(times):
        await redis.flushall()
        await asyncio.sleep(every_s)


async def flush_scripts(redis: Redis, times: int, every_s: float) -> None:
    for _ in range(times):
        await redis.script_flush()
        await asyncio.sleep(every_s)


async def delete_keys(redis: Redis, times: int, every_s: float) -> None:
    """Delete each key with even chances, again and again."""
    for _ in range(times):
        doomed = [key for key in await redis.keys() if random.random() < 0.5]
        if doomed:
            await redis.delete(*doomed)
        await asyncio.sleep(every_s)


async def be_replica(redis: Redis, for_s: float) -> None:
    """Read-only, behind a master that is not there."""
    await redis.slaveof("127.0.0.1", 1)
    await asyncio.sleep(for_s)
    await redis.slaveof()


async def redis_down(servers: Servers, folder: Path, for_s: float) -> None:
    """Killed, and started again at the same port, empty."""
    servers.valkey.process.kill()
    servers.valkey.stop()
    await asyncio.sleep(for_s)
    valkey_again(servers, folder)


async def postgres_down(servers: Servers, folder: Path, for_s: float) -> None:
    """Stopped as an administrator does, and started again at the same port."""
    await asyncio.to_thread(servers.postgres.stop)
    await asyncio.sleep(for_s)
    postgres_again(servers, folder)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process and its children stand still: connections stay and nothing answers."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(family):
            os.kill(process.pid, signal.SIGCONT)


@asynccontextmanager
async def _administrator(servers: Servers) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_named(servers.postgres.url, "postgres"), isolation_level="AUTOCOMMIT")
    try:
        yield engine
    finally:
        await engine.dispose()


TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"


async def terminate_connections(servers: Servers, workers: Workers, times: int, every_s: float) -> None:
    async with _administrator(servers) as engine:
        for _ in range(times):
            async with engine.connect() as db:
                await db.execute(text(TERMINATE), {"name": database_of(workers)})
            await asyncio.sleep(every_s)


@asynccontextmanager
async def read_only(servers: Servers, workers: Workers) -> AsyncIterator[None]:
    """As after a failover to a standby: connections are cut, and new ones may only read."""
    name = database_of(workers)
    async with _administrator(servers) as engine, engine.connect() as db:
        await db.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        await db.execute(text(TERMINATE), {"name": name})
        yield
        await db.execute(text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))


def database_of(workers: Workers) -> str:
    url = workers.stack.settings.database_url
    assert url is not None
    return urlsplit(url.get_secret_value()).path.removeprefix("/")
