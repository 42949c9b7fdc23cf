"""BEGIN goes out with a transaction's first statement: as one, or not at all; on both loops, with TLS and without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from asyncpg import connect_utils
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import DatabaseUnavailable
from app.persistence.database import Database
from app.persistence.statements import ask, column, value
from tests.support.databases import execute, failing_to_begin, fresh_database
from tests.support.loops import LOOPS, run_on
from tests.support.stack import Servers
from tests.support.tls_postgres import plainly_or_by_tls

LOCAL = "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET synchronous_commit TO local'; END $$"


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with fresh_database(servers.postgres.url) as url:
        await execute(url, "CREATE TABLE noted (number int)")
        await execute(url, LOCAL)
        yield url


@pytest.fixture(params=["plain", "tls"])
async def either_url(servers: Servers, url: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with plainly_or_by_tls(request.param, servers.postgres.port, url, tmp_path) as address:
        yield address


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url, pool_size=1)
    yield database
    await database.close()


@pytest.mark.parametrize("loop", LOOPS)
async def test_transactions_are_what_they_say(either_url: str, loop: str) -> None:
    async def use() -> list[Any]:
        database = Database(either_url, pool_size=1)
        found = []
        for number in range(3):
            async with database.begin() as db:
                found.append(await value(db, "SELECT current_setting('synchronous_commit')"))
                await ask(db, "INSERT INTO noted VALUES (:number)", {"number": number})
            with suppress(ZeroDivisionError):
                async with database.begin() as db:
                    await ask(db, "INSERT INTO noted VALUES (9)")
                    raise ZeroDivisionError
            async with database.read() as db:
                found.append(await value(db, "SELECT current_setting('transaction_isolation')"))
                found += await column(db, "SELECT number FROM noted ORDER BY number")
        await database.close()
        return found

    assert await run_on(loop, use) == [
        *("local", "repeatable read", 0),
        *("local", "repeatable read", 0, 1),
        *("local", "repeatable read", 0, 1, 2),
    ]


@pytest.mark.parametrize("known", [False, True], ids=["new statement", "known statement"])
async def test_a_statement_does_not_run_where_its_transaction_could_not_begin(database: Database, known: bool) -> None:
    """Else it would be committed by itself."""

    async def insert() -> None:
        async with database.begin() as db:
            await ask(db, "INSERT INTO noted VALUES (1)")

    if known:
        async with database.begin() as db:
            await ask(db, "INSERT INTO noted VALUES (1)")
            await db.rollback()
    with failing_to_begin(database), pytest.raises(DatabaseUnavailable):
        await insert()
    async with database.begin() as db:
        assert await column(db, "SELECT number FROM noted") == []


@pytest.mark.parametrize("error", [None, ZeroDivisionError()])
async def test_a_transaction_may_end_before_its_first_statement(database: Database, error: Exception | None) -> None:
    with suppress(ZeroDivisionError):
        async with database.begin() as db:
            await _begin(db)
            if error:
                raise error
    async with database.begin() as db:
        await ask(db, "INSERT INTO noted VALUES (1)")
    async with database.read() as db:
        assert await column(db, "SELECT number FROM noted") == [1]


async def test_one_that_could_not_begin_is_not_committed_as_if_it_had(database: Database) -> None:
    async def use() -> None:
        async with database.begin() as db:
            await _begin(db)

    with failing_to_begin(database), pytest.raises(DatabaseUnavailable):
        await use()
    async with database.begin() as db:
        assert await column(db, "SELECT number FROM noted") == []


async def test_a_server_that_ended_meanwhile_is_away(database: Database, url: str) -> None:
    async def use() -> None:
        async with database.begin() as db:
            await _begin(db)
            await execute(url, f"SELECT pg_terminate_backend({pid}, 5000)")
            await ask(db, "INSERT INTO noted VALUES (1)")

    async with database.quick() as db:
        pid = await value(db, "SELECT pg_backend_pid()")
    with pytest.raises(DatabaseUnavailable):
        await use()
    async with database.begin() as db:
        assert await column(db, "SELECT number FROM noted") == []


async def test_why_a_transaction_was_refused_is_said(database: Database) -> None:
    async def use() -> None:
        async with database.begin() as db:
            await ask(db, "SELECT 1")

    with failing_to_begin(database), pytest.raises(DatabaseUnavailable, match="unrecognized configuration parameter"):
        await use()


async def test_many_rows_at_first_are_in_the_transaction_whatever_is_wrong_with_one(database: Database) -> None:
    """asyncpg rolls back by itself where it takes them to be in none, and what follows would stay."""
    insert = sqlalchemy.text("INSERT INTO noted VALUES (:number)")
    with suppress(ZeroDivisionError):
        async with database.begin() as db:
            with suppress(DBAPIError):
                await db.execute(insert, [{"number": 1}, {"number": "no number"}])
            with suppress(DBAPIError):
                await db.execute(insert, [{"number": 2}])
            raise ZeroDivisionError
    async with database.read() as db:
        assert await column(db, "SELECT number FROM noted") == []


@pytest.mark.parametrize("first", ["SELECT pg_sleep(0.2)", "SELECT 1"])
async def test_begin_waits_for_the_end_of_a_statement_that_was_given_up(database: Database, first: str) -> None:
    """Its answers would be taken for those of BEGIN."""
    async with database.quick() as db:
        assert db.sync_connection is not None
        session: Any = db.sync_connection.connection.driver_connection
        for _ in range(30):
            with suppress(TimeoutError):
                await session.fetch(first, timeout=0.0005)
            async with session.transaction():
                assert [tuple(row) for row in await session.fetch("SELECT 7")] == [(7,)]


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_connection_that_broke_while_begin_waited_is_an_outage(
    url: str, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement before was given up, and nobody could be told to cancel it: the network is gone."""

    async def unreachable(*_: object, **__: object) -> None:
        await asyncio.sleep(0.2)
        raise OSError("no route")

    async def use() -> None:
        database = Database(url, pool_size=1)
        with suppress(DatabaseUnavailable):
            async with database.quick() as db:
                assert db.sync_connection is not None
                session: Any = db.sync_connection.connection.driver_connection
                await session.fetch("SELECT pg_sleep(5)", timeout=0.05)
        try:
            async with database.begin() as db:
                await ask(db, "SELECT 1")
        finally:
            await database.close()

    monkeypatch.setattr(connect_utils, "_cancel", unreachable)
    with pytest.raises(DatabaseUnavailable):
        await run_on(loop, use)


async def _begin(db: AsyncConnection) -> None:
    """Send BEGIN alone, as somebody does who is cancelled before the statement."""
    assert db.sync_connection is not None
    adapted: Any = db.sync_connection.connection.dbapi_connection
    await adapted._start_transaction()
