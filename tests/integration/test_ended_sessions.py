"""A session that the server ended: nobody is lent it, and whoever had it is told what happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from app.errors import DatabaseUnavailable
from app.persistence.database import Database
from tests.support.databases import execute, fresh_database, opened
from tests.support.pg_messages import message
from tests.support.stack import Servers


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with fresh_database(servers.postgres.url) as url:
        yield url


@pytest.mark.parametrize("pre_ping", [False, True])
async def test_nobody_is_lent_a_connection_that_the_server_ended_a_moment_ago(url: str, pre_ping: bool) -> None:
    """The loop stands still meanwhile, as on a busy machine, so what the server said last is not read yet."""

    def end(pid: int) -> None:
        asyncio.run(execute(url, f"SELECT pg_terminate_backend({pid}, 5000)"))

    with ThreadPoolExecutor(1) as elsewhere:
        async with opened(url, pool_size=1, pre_ping=pre_ping) as database:
            for _ in range(3):
                async with database.read() as db:
                    pid = await db.scalar(text("SELECT pg_backend_pid()"))
                elsewhere.submit(end, pid).result()


TERMINATED = message(b"E", b"SFATAL\x00C57P01\x00Mterminating connection due to administrator command\x00\x00")


async def end_oneself(database: Database, *, in_answer: bool) -> None:
    """Have the server end a session: as the answer to a statement, or just before, while the connection is open."""
    async with database.begin() as db:
        session: Any = (await db.get_raw_connection()).driver_connection
        if not in_answer:
            session._protocol.data_received(TERMINATED)
        await db.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


@pytest.mark.parametrize("in_answer", [True, False])
async def test_a_session_that_was_ended_is_told_as_that(url: str, in_answer: bool) -> None:
    async with opened(url, pool_size=1) as database:
        with pytest.raises(DatabaseUnavailable, match=r"ended the session \(by pg_terminate_backend, a shutdown or"):
            await end_oneself(database, in_answer=in_answer)
        async with database.quick() as db:
            assert await db.scalar(text("SELECT 1")) == 1
