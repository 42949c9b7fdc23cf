"""Statements sent straight to the driver fail, and leave their connection, as those that SQLAlchemy sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import DatabaseUnavailable
from app.persistence.database import Database
from app.persistence.failures import StatementRefused
from app.persistence.statements import ask, column, text, value
from tests.support.databases import fresh_database
from tests.support.stack import Servers
from tests.support.worker_stack import until

Send = Callable[[AsyncConnection, str], Awaitable[object]]
PID = "SELECT pg_backend_pid()"
CANCEL_OTHERS = """
    SELECT pg_cancel_backend(pid) FROM unnest(CAST(:pids AS int[])) AS p(pid) WHERE pid <> pg_backend_pid()"""
WRONG = {
    "no such table": "SELECT * FROM nothing_of_that_name",
    "not unique": "INSERT INTO queues (name) VALUES ('image-upload')",
    "no number": "SELECT CAST('x' AS int)",
    "no statement": "SELEC 1",
}


async def by_sqlalchemy(db: AsyncConnection, sql: str) -> object:
    return await db.execute(text(sql))


WAYS: tuple[Send, ...] = (by_sqlalchemy, ask)


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with fresh_database(servers.postgres.url) as found:
        yield found


@pytest.fixture(params=[False, True], ids=["straight", "as behind a pooler"])
async def database(url: str, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    database = Database(url, pool_size=2, transaction_pooler=request.param)
    yield database
    await database.close()


async def test_rows_have_their_columns_as_attributes_keys_and_places(database: Database) -> None:
    given = {"ids": [2, 3], "uuid": UUID(int=7), "json": '{"a": [1, null]}', "text": "a:b"}
    sql = """
        SELECT x AS id, CAST(:uuid AS uuid) AS uuid, CAST(:json AS jsonb) AS json, CAST(:text AS text) AS text,
            CAST(:text AS text) || '::no:parameter' AS again
        FROM unnest(CAST(:ids AS bigint[])) AS t(x) ORDER BY x"""
    async with database.begin() as db:
        first, second = await ask(db, sql, given)
        assert tuple(first) == (2, UUID(int=7), {"a": [1, None]}, "a:b", "a:b::no:parameter")
        assert (second.id, second["id"], second[0], dict(second)["again"]) == (3, 3, 3, "a:b::no:parameter")
        with pytest.raises(AttributeError, match="nobody"):
            _ = first.nobody
        assert await column(db, "SELECT generate_series(1, 3)") == [1, 2, 3]
        assert await value(db, "SELECT 1 WHERE false") is None
        assert await ask(db, "CREATE TEMP TABLE t (x int) ON COMMIT DROP") == []


@pytest.mark.parametrize("sql", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("kind", ["begin", "quick"])
async def test_a_wrong_statement_is_refused_in_the_same_words_and_costs_no_connection(
    database: Database, sql: str, kind: str
) -> None:
    told: list[tuple[type[BaseException], str]] = []
    pids: set[int] = set()
    for send in WAYS:
        with pytest.raises((StatementRefused, DatabaseUnavailable)) as refused:
            await _use(database, kind, send, sql, pids)
        told.append((refused.type, str(refused.value)))
    assert told[0] == told[1]
    async with database.begin() as db:
        assert {await value(db, PID)} == pids


async def _use(database: Database, kind: str, send: Send, sql: str, pids: set[int]) -> None:
    async with getattr(database, kind)() as db:
        pids.add(await value(db, PID))
        await send(db, sql)


async def test_it_is_part_of_its_transaction_from_the_first_statement_on(database: Database) -> None:
    async def writes_first(db: AsyncConnection, sql: str) -> object:
        await ask(db, "UPDATE queues SET paused = true")
        return await ask(db, sql)

    with pytest.raises(StatementRefused):
        await _use(database, "begin", writes_first, WRONG["no number"], set())
    async with database.begin() as db:
        assert await column(db, "SELECT DISTINCT paused FROM queues") == [False]
        await ask(db, "UPDATE queues SET paused = true WHERE name = 'image-upload'")
    async with database.read() as db:
        assert await column(db, "SELECT name FROM queues WHERE paused") == ["image-upload"]
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        await _use(database, "read", ask, "UPDATE queues SET paused = false", set())


@pytest.mark.parametrize("send", WAYS)
@pytest.mark.parametrize("kind", ["begin", "quick"])
async def test_a_connection_that_the_server_ended_is_an_outage_and_is_not_lent_again(
    database: Database, kind: str, send: Send
) -> None:
    pids: set[int] = set()

    async def ended_below(db: AsyncConnection, sql: str) -> object:
        async with database.quick() as other:
            await ask(other, "SELECT pg_terminate_backend(:pid, 5000)", {"pid": pids.copy().pop()})
        return await send(db, sql)

    with pytest.raises(DatabaseUnavailable):
        await _use(database, kind, ended_below, "SELECT 1", pids)
    async with database.begin() as db:
        assert await value(db, PID) not in pids


@pytest.mark.parametrize("send", WAYS)
async def test_a_cancelled_statement_takes_its_connection_along(database: Database, send: Send) -> None:
    pids: list[Any] = []

    async def sleep() -> None:
        async with database.begin() as db:
            pids.append(await value(db, PID))
            await send(db, "SELECT pg_sleep(30)")

    sleeping = asyncio.create_task(sleep())
    await until(lambda: pids)
    await asyncio.sleep(0)  # it asks by now
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    async with database.begin() as db:
        assert await value(db, PID) not in pids


async def test_a_statement_that_an_operator_cancels_is_repeated_however_often(database: Database) -> None:
    pids: list[Any] = []

    async def work(db: AsyncConnection) -> str:
        pids.append(await value(db, PID))
        await ask(db, "SELECT pg_sleep(:seconds)", {"seconds": 0 if len(pids) > 5 else 25})
        return "done"

    working = asyncio.create_task(database.transact(work))
    while not working.done():
        async with database.quick() as db:
            await ask(db, CANCEL_OTHERS, {"pids": pids})
        await asyncio.sleep(0.02)
    assert (await working, len(pids)) == ("done", 6)


async def test_a_statement_that_takes_too_long_is_repeated_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.persistence.database.STATEMENT_TIMEOUT_S", 0.05)
    tries = 0

    async def work(db: AsyncConnection) -> None:
        nonlocal tries
        tries += 1
        await ask(db, "SET LOCAL statement_timeout TO '50ms'")
        await ask(db, "SELECT pg_sleep(25)")

    with pytest.raises(StatementRefused, match="QueryCanceledError"):
        await database.transact(work)
    assert tries == 3
