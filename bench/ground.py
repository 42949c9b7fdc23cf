"""Real parts to measure on, each a process: durable PostgreSQL, Valkey, the sample feed, the workers.

servers (once a run) ─▶ a fresh database, an empty Redis, an empty folder (once a measurement) ─▶ workers on them
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import orjson
from redis.asyncio import Redis

from app.cli.die_with_parent import wrap
from app.cli.embedded import EmbeddedServer, start_postgres, start_valkey
from app.coordination.heartbeats import live_workers
from app.persistence.database import Database
from app.persistence.migrations import migrate
from app.settings import Settings
from app.sync.services import Services, open_services

TEMPLATE = "template_migrated"
READY_WITHIN_S = 120.0
STOP_WITHIN_S = 15.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Servers:
    """The servers of one run of the bench, and a folder for everything that is written."""

    postgres: EmbeddedServer
    valkey: EmbeddedServer
    folder: Path


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Start both with a new data folder, and remove it in the end; to be entered on the main thread.

    Pictures of all grounds stay until then: for minutes after many files were deleted ext4 searches past their inodes
    for each new one (its `recently_deleted`), up to a millisecond of CPU a picture that is nobody's.
    """
    folder = Path(tempfile.mkdtemp(prefix="promidata-bench-"))
    folder.chmod(0o755)  # so that the servers' user reaches its data, and nothing has to be copied
    try:
        with (
            start_postgres(folder, say=_quiet) as postgres,
            start_valkey(folder, say=_quiet) as valkey,
        ):
            asyncio.run(_make_template(postgres.url))
            yield Servers(postgres, valkey, folder)
            postgres.stop(discard=True)
            valkey.stop(discard=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _quiet(_: str) -> None:
    """The servers have nothing to say that belongs into a report."""


async def _make_template(url: str) -> None:
    await execute(url, f"CREATE DATABASE {TEMPLATE}")
    database = Database(named(url, TEMPLATE))
    await migrate(database)
    await database.close()


def named(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def plain_url(url: str) -> str:
    """The address as asyncpg wants it."""
    return url.replace("postgresql+asyncpg://", "postgresql://")


async def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    connection = await asyncpg.connect(plain_url(url))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@dataclass(frozen=True)
class Ground:
    """One measurement's database, Redis and folder, with services on them in this process."""

    servers: Servers
    services: Services
    database_url: str
    folder: Path
    env: Mapping[str, str]
    pool: asyncpg.Pool
    """Kept open: a new connection for every look would be the largest part of what PostgreSQL does."""

    async def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """The rows of a query."""
        return [dict(row) for row in await self.pool.fetch(query, *arguments)]


@asynccontextmanager
async def fresh_ground(
    servers: Servers,
    base_url: str = "http://127.0.0.1:9/none",
    *,
    settings: Mapping[str, str] | None = None,
    database_settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Ground]:
    """A fresh database and an empty Redis, and `settings` by their names in the environment.

    `database_settings` hold for every connection to the database.
    """
    name = f"bench_{next(_numbers)}"
    await execute(servers.postgres.url, "CHECKPOINT", f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    for setting, value in (database_settings or {}).items():
        await execute(servers.postgres.url, f"ALTER DATABASE {name} SET {setting} = {value}")
    await emptied_redis(servers.valkey.url)
    url = named(servers.postgres.url, name)
    values = {
        "DATABASE_URL": url,
        "REDIS_URL": servers.valkey.url,
        "PROMIDATA_BASE_URL": base_url,
        "ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
        "DATA_DIR": str(servers.folder / name),
        "LOG_LEVEL": "WARNING",
        **dict.fromkeys(("S3_BUCKET", "S3_ENDPOINT_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"), ""),
        **(settings or {}),
    }
    read = Settings.model_validate({key.lower(): value for key, value in values.items()})
    async with (
        open_services(read) as services,
        asyncpg.create_pool(plain_url(url), min_size=1, max_size=3) as pool,
    ):
        yield Ground(servers, services, url, servers.folder / name, os.environ | values, pool)
    await execute(servers.postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


async def emptied_redis(url: str) -> None:
    async with Redis.from_url(url) as redis:
        await redis.flushall()


@dataclass
class Process:
    """A process of ours; `told` is where a worker leaves its own figures when it ends."""

    name: str
    popen: subprocess.Popen[bytes]
    told: Path | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    def stop(self) -> dict[str, Any]:
        """End it as an operator would, and return what it told."""
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
        return {} if self.told is None or not self.told.exists() else orjson.loads(self.told.read_bytes())

    def kill(self) -> None:
        """End it as a power cut would."""
        self.popen.kill()
        self.popen.wait()


def spawn(name: str, arguments: Sequence[str], env: Mapping[str, str], told: Path | None = None) -> Process:
    """Start `python -m ...`, to be killed by the kernel when this process dies.

    In a session of its own, as `up` starts it: Linux shares processors out between sessions, so one that all programs
    were in would be a share for all of them beside as large a one for each backend of PostgreSQL.
    """
    command = wrap([sys.executable, "-m", *arguments], signum=signal.SIGKILL)
    popen = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
    return Process(name, popen, told)


@asynccontextmanager
async def workers(ground: Ground, queues: Sequence[str], *options: str) -> AsyncIterator[dict[str, Process]]:
    """A worker process for each queue, ready to work, ended in the end; by queue, a second one as `queue 2`."""
    ground.folder.mkdir(exist_ok=True)
    running: dict[str, Process] = {}
    try:
        for number, queue in enumerate(queues):
            nth = queues[:number].count(queue) + 1
            name = queue if nth == 1 else f"{queue} {nth}"
            told = ground.folder / f"told-{queue}-{next(_numbers)}.json"
            arguments = ["bench.worker_process", queue, "--out", str(told), *options]
            running[name] = spawn(name, arguments, ground.env, told)
        await wait_ready(ground, list(running.values()))
        yield running
    finally:
        for process in running.values():
            if process.popen.poll() is None:
                process.stop()


async def wait_ready(ground: Ground, processes: Sequence[Process]) -> None:
    """Until each of these worker processes has shown its first heartbeat.

    Raises:
        RuntimeError: one of them ended instead.
    """
    async with Redis.from_url(ground.servers.valkey.url) as redis, asyncio.timeout(READY_WITHIN_S):
        await until(lambda: _all_alive(redis, processes))
    await asyncio.sleep(0.3)  # the listener's first connection


async def _all_alive(redis: Redis, processes: Sequence[Process]) -> bool:
    for process in processes:
        if process.popen.poll() is not None:
            raise RuntimeError(f"{process.name} ended with {process.popen.returncode} instead of working")
    return {process.pid for process in processes} <= {beat.pid for beat in await live_workers(redis)}


async def until(reached: Callable[[], Awaitable[bool]], *, look_every_s: float = 0.05) -> None:
    """Wait until something outside this process is so."""
    while True:
        if await reached():
            return
        await asyncio.sleep(look_every_s)


@dataclass(frozen=True)
class Feed:
    """The sample feed as a process, with its switches."""

    process: Process
    base_url: str

    @property
    def control(self) -> str:
        """Where its control endpoints are."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}/_control"

    def forget_requests(self) -> None:
        """Begin the log anew."""
        httpx.delete(f"{self.control}/requests").raise_for_status()

    def requests(self) -> dict[str, int]:
        """How many requests of each kind since then."""
        answer = httpx.get(f"{self.control}/requests", params={"kind": "none"}).raise_for_status()
        return dict(answer.json()["counts"])

    def set_habits(self, **habits: object) -> None:
        """Change what it does for every answer: `latency_s`, `validators`, `gzip`."""
        httpx.post(f"{self.control}/habits", json=habits).raise_for_status()

    def fault_hits(self) -> int:
        """How many answers were faults."""
        faults = httpx.get(f"{self.control}/faults").raise_for_status().json()["faults"]
        return sum(int(fault["hits"]) for fault in faults)

    def forget_faults(self) -> None:
        """No faults any more."""
        httpx.delete(f"{self.control}/faults").raise_for_status()

    def change(self, change: str, sku: str) -> None:
        """Change a document."""
        httpx.post(f"{self.control}/changes", json={"change": change, "sku": sku}).raise_for_status()


@contextmanager
def serving_feed(*options: str) -> Iterator[Feed]:
    """The sample feed at a free port, with the options of `promidata-sync feed serve`."""
    command = wrap([sys.executable, "-m", "app.cli.feed_serve", *options], signum=signal.SIGKILL)
    popen = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    process = Process("sample feed", popen)
    try:
        assert popen.stdout is not None
        yield Feed(process, popen.stdout.readline().decode().strip())
    finally:
        process.kill()
        if popen.stdout is not None:
            popen.stdout.close()
