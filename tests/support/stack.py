"""The parts of one test: a fresh database, an empty Redis, a sample feed over HTTP, and open services.

Real PostgreSQL and Valkey, started once a session; a database of its own a test (databases.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Redis
from sqlalchemy import text

from app.cli.embedded import EmbeddedServer, start_postgres, start_valkey
from app.samplefeed import FeedSpec, SampleFeed, SampleFeedServer
from app.settings import Settings
from app.sync.operating.discovery import discover
from app.sync.operating.start import StartRequest
from app.sync.running.direct import DirectResult, sync_direct
from app.sync.services import Services, open_services
from tests.support.databases import TEMPLATE, execute, fresh_database, make_template

_migrating = asyncio.Lock()
_keys_in_use: set[str] = set()


@dataclass(frozen=True)
class Servers:
    """The session's servers."""

    postgres: EmbeddedServer
    valkey: EmbeddedServer
    again: list[EmbeddedServer] = field(default_factory=list)
    """Those that took the place of one that a test stopped."""


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """Start both servers and migrate the template; must be entered on the main thread."""
    with (
        start_postgres(folder, say=lambda _: None, durable=False) as postgres,
        start_valkey(folder, say=lambda _: None) as valkey,
    ):
        servers = Servers(postgres, valkey)
        asyncio.run(_make_password_cheap(postgres.url))
        asyncio.run(make_template(postgres.url))
        try:
            yield servers
        finally:
            postgres.stop(discard=True)
            valkey.stop(discard=True)


@contextmanager
def own_valkey(servers: Servers, folder: Path) -> Iterator[Servers]:
    """The session's PostgreSQL with a Valkey of one's own, which may be killed (`valkey_again` starts it anew)."""
    with start_valkey(folder, say=lambda _: None) as valkey:
        own = replace(servers, valkey=valkey, again=[])
        try:
            yield own
        finally:
            for server in (valkey, *own.again):
                server.stop(discard=True)


def valkey_again(own: Servers, folder: Path) -> None:
    """Valkey at the same port with the same password and, after a kill, empty."""
    own.again.append(start_valkey(folder, say=lambda _: None, port=own.valkey.port))


@asynccontextmanager
async def own_postgres(servers: Servers, folder: Path) -> AsyncIterator[Servers]:
    """The session's Valkey with a PostgreSQL of one's own, which may be stopped (`postgres_again` starts it anew)."""
    with start_postgres(folder, say=lambda _: None, durable=False) as postgres:
        async with _migrating:  # Alembic's context is one a process
            await make_template(postgres.url)
        own = replace(servers, postgres=postgres, again=[])
        try:
            yield own
        finally:
            for server in (postgres, *own.again):
                server.stop(discard=True)


def postgres_again(own: Servers, folder: Path) -> None:
    """PostgreSQL at the same port on the same data."""
    own.again.append(start_postgres(folder, say=lambda _: None, port=own.postgres.port, durable=False))


async def _make_password_cheap(url: str) -> None:
    """Still SCRAM, but not thousands of rounds of it for each of the thousands of connections that tests open."""
    password = urlsplit(url).password
    await execute(url, f"SET scram_iterations TO 1; ALTER ROLE CURRENT_USER PASSWORD '{password}'")


@asynccontextmanager
async def fresh_keys(url: str) -> AsyncIterator[str]:
    """The address of a Redis database that is empty and that no other stack of this process uses meanwhile.

    A file whose service stays up for all of its tests has tests with a stack of their own beside it; on the same keys
    they would be two installations.
    """
    numbered = (urlunsplit(urlsplit(url)._replace(path=f"/{number}")) for number in range(16))
    mine = next(free for free in numbered if free not in _keys_in_use)
    _keys_in_use.add(mine)
    try:
        redis = Redis.from_url(mine)
        await redis.flushdb()
        await redis.aclose()
        yield mine
    finally:
        _keys_in_use.remove(mine)


@dataclass(frozen=True)
class Stack:
    """What a test works with."""

    services: Services
    settings: Settings
    feed: SampleFeed
    server: SampleFeedServer

    async def discover(self) -> None:
        """Add the feed's suppliers."""
        await discover(self.services)

    async def sync(self, supplier: str | None = None, **options: Any) -> list[DirectResult]:
        """A direct sync, to its end."""
        return await sync_direct(self.services, StartRequest(supplier=supplier, **options))

    async def rows(self, sql: str, **params: Any) -> list[dict[str, Any]]:
        """What a query gives, as dictionaries."""
        async with self.services.database.read() as db:
            return [dict(row) for row in (await db.execute(text(sql), params)).mappings()]

    async def value(self, sql: str, **params: Any) -> Any:
        """The first value that a query gives."""
        (row,) = await self.rows(sql, **params)
        return next(iter(row.values()))

    async def run(self, supplier: str) -> dict[str, Any]:
        """The newest run of a supplier, as its row."""
        rows = await self.rows(
            """SELECT r.* FROM runs r JOIN suppliers s ON s.id = r.supplier_id WHERE s.code = :code
            ORDER BY r.created_at DESC LIMIT 1""",
            code=supplier,
        )
        return rows[0]

    async def problems(self, supplier: str) -> list[dict[str, Any]]:
        """The problems of a supplier's newest run."""
        run = await self.run(supplier)
        return await self.rows("SELECT * FROM problems WHERE run_id = :run_id ORDER BY id", run_id=run["id"])


@asynccontextmanager
async def open_stack(
    servers: Servers, folder: Path, feed: SampleFeed | None = None, *, template: str = TEMPLATE, **settings: Any
) -> AsyncIterator[Stack]:
    """A fresh database, an empty Redis, the feed served over HTTP, and services on all of it.

    The suppliers are discovered unless the database is made from another template: then it is for the test to fill.
    """
    feed = feed or SampleFeed(FeedSpec.small(count=2, families=4, variants=3))
    async with (
        fresh_keys(servers.valkey.url) as redis_url,
        fresh_database(servers.postgres.url, template=template) as url,
        SampleFeedServer(feed) as server,
    ):
        built = Settings.model_validate(
            {
                "database_url": url,
                "redis_url": redis_url,
                "promidata_base_url": server.base_url,
                "allow_private_addresses": "127.0.0.0/8",
                "data_dir": folder,
                "retry_backoff_s": 0.05,
                **settings,
            }
        )
        async with open_services(built, store_at_once=True) as services:
            stack = Stack(services, built, feed, server)
            if template == TEMPLATE:
                await stack.discover()
            yield stack
