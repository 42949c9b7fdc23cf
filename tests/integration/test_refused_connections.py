"""Connections that PostgreSQL or a pooler refuses for a while, and tables that somebody holds locked: outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from app.errors import DatabaseMisfit, DatabaseUnavailable
from app.persistence.database import Connection, Database
from app.persistence.taking_writes import try_to_write
from tests.support.databases import connected, execute, fresh_database, opened
from tests.support.pg_messages import message
from tests.support.stack import Servers

FULL = message(b"E", b"SFATAL\x00CXX000\x00MMax client connections reached\x00\x00")

Use = Callable[[Database], Awaitable[None]]


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with fresh_database(servers.postgres.url) as url:
        yield url


@pytest.fixture
async def full_pooler() -> AsyncIterator[str]:
    """Answers whoever connects as Supabase's pooler does at its limit: with no state that PostgreSQL has for that."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(FULL)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"postgresql+asyncpg://shop:word@{host}:{port}/shop?sslmode=disable"


async def check(database: Database) -> None:
    await database.check()


async def ask(database: Database) -> None:
    async with database.quick() as db:
        await db.scalar(text("SELECT 1"))


async def work(database: Database) -> None:
    async def one(db: Connection) -> None:
        await db.scalar(text("SELECT 1"))

    await database.transact(one)


@pytest.mark.parametrize("use", [check, ask, work])
async def test_a_pooler_at_its_limit_is_an_outage_whatever_its_state(full_pooler: str, use: Use) -> None:
    async with opened(full_pooler, pool_size=2) as database:
        with pytest.raises(DatabaseUnavailable, match="Max client connections reached") as told:
            await use(database)
    assert not isinstance(told.value, DatabaseMisfit)


async def test_a_database_that_takes_no_connections_for_a_while_is_an_outage(servers: Servers, url: str) -> None:
    name = urlsplit(url).path.removeprefix("/")
    async with opened(url, pool_size=2) as database:
        await execute(servers.postgres.url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        with pytest.raises(DatabaseUnavailable, match="not currently accepting connections"):
            await work(database)
        await execute(servers.postgres.url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await work(database)


async def test_who_tries_to_write_to_a_locked_table_is_told_who_is_in_the_way(url: str) -> None:
    async with opened(url, pool_size=2) as database, connected(url) as other, other.transaction():
        await other.execute("LOCK TABLE idempotency_keys")
        with pytest.raises(DatabaseUnavailable, match="pg_blocking_pids"):
            await try_to_write(database)
