"""A connection is lent without the event loop where one is open, and each loan and transaction is what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError, ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import DatabaseUnavailable
from app.persistence import lending
from app.persistence.after_commit import after_commit
from app.persistence.database import Database
from app.persistence.failures import StatementRefused
from app.persistence.sessions import PipeliningSession, Session
from app.persistence.statements import ask, column, value
from tests.support.databases import execute, fresh_database
from tests.support.stack import Servers
from tests.support.worker_stack import until

KINDS = ["begin", "quick", "read"]
Kind = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with fresh_database(servers.postgres.url) as url:
        await execute(url, "CREATE TABLE once (number int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        yield url


@pytest.fixture(params=[False, True], ids=["straight", "as behind a pooler"])
async def database(url: str, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """One connection, so that each loan is what the one before left."""
    database = Database(url, pool_size=1, transaction_pooler=request.param)
    yield database
    await database.close()


async def is_over_at_once(coroutine: Coroutine[object, object, None]) -> bool:
    """Whether it comes to its end without waiting for anything."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)  # its first step
    if task.done():
        await task
        return True
    task.cancel()
    await asyncio.wait([task])
    return False


async def use(kind: Kind) -> None:
    async with kind():
        pass


@pytest.mark.parametrize("pre_ping", [False, True])
async def test_what_is_open_is_lent_and_taken_back_without_waiting(url: str, pre_ping: bool) -> None:
    database = Database(url, pool_size=2, pre_ping=pre_ping)
    async with database.quick() as db:
        await ask(db, "SELECT 1")
    for _ in range(3):
        for kind in KINDS:
            assert await is_over_at_once(use(getattr(database, kind)))
    await database.close()


async def test_what_is_not_open_is_waited_for(url: str) -> None:
    database = Database(url, pool_size=2)
    assert not await is_over_at_once(use(database.quick))
    async with database.quick(), database.begin():
        assert not await is_over_at_once(use(database.quick))
    await use(database.quick)
    await database.close()


@pytest.mark.parametrize("pre_ping", [False, True])
async def test_what_a_connection_is_is_decided_once(url: str, pre_ping: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends it, or its time is over, in the moment after: that is the next statement's business."""
    database = Database(url, pool_size=1, pre_ping=pre_ping)
    await use(database.quick)
    looks = iter([False, True])
    monkeypatch.setattr(Session, "has_unread", lambda _: next(looks))
    async with database.quick() as db:
        assert await value(db, "SELECT 1") == 1
    monkeypatch.undo()
    await database.close()


@pytest.mark.parametrize("kind", ["begin", "quick"])
async def test_who_is_cancelled_while_a_broken_connection_is_thrown_away_leaves_its_place(
    database: Database, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = database._lender._engine.sync_engine.pool
    throw_away = pool._invalidate

    async def break_it() -> None:
        async with getattr(database, kind)() as db:
            await ask(db, "DO $$ BEGIN RAISE EXCEPTION 'a primary no more' USING ERRCODE = '25006'; END $$")

    for _ in range(3):
        breaking = asyncio.create_task(break_it())

        def cancelled(*args: Any, task: asyncio.Task[None] = breaking) -> None:
            asyncio.get_running_loop().call_soon(task.cancel)
            throw_away(*args)

        with monkeypatch.context() as patched:
            patched.setattr(pool, "_invalidate", cancelled)
            with pytest.raises((asyncio.CancelledError, DatabaseUnavailable)):
                await breaking
    async with asyncio.timeout(5), getattr(database, kind)() as db:
        assert await value(db, "SELECT 1") == 1


async def test_a_block_that_goes_on_after_its_connection_broke_is_told_so(url: str) -> None:
    database = Database(url, pool_size=1)
    async with database.quick() as db:
        with pytest.raises(DBAPIError):
            await ask(db, "DO $$ BEGIN RAISE EXCEPTION 'a primary no more' USING ERRCODE = '25006'; END $$")
        with pytest.raises(DatabaseUnavailable, match="broke in a statement before"):
            await ask(db, "SELECT 1")
    await use(database.begin)
    await database.close()


async def test_who_goes_on_behind_its_block_has_nothing_of_the_next_loan(database: Database) -> None:
    """As a task that was started in it and outlives it; nothing is begun on a connection that is idle either."""
    go_on = asyncio.Event()

    async def outlive(db: AsyncConnection) -> None:
        await go_on.wait()
        with pytest.raises(ResourceClosedError, match="was given back"):
            await ask(db, "INSERT INTO once VALUES (7)")

    for is_lent_again in (True, False):
        go_on.clear()
        async with database.begin() as db:
            await ask(db, "SELECT 1")
            stray = asyncio.create_task(outlive(db))
        if is_lent_again:
            async with database.begin() as other:
                await ask(other, "SELECT 1")
                go_on.set()
                await stray
        go_on.set()
        await stray
    async with database.read() as db:
        assert await column(db, "SELECT number FROM once") == []


async def test_a_transaction_that_somebody_began_by_hand_is_nobody_elses(url: str) -> None:
    database = Database(url, pool_size=1)
    async with database.quick() as db:
        await ask(db, "BEGIN")
        await ask(db, "INSERT INTO once VALUES (1)")
    async with database.quick() as db:
        assert await column(db, "SELECT number FROM once") == []
    await database.close()


async def test_what_comes_back_when_the_database_is_closed_is_closed(url: str) -> None:
    database = Database(url, pool_size=2)
    async with database.quick() as db:
        await ask(db, "SELECT 1")
        await database.close()
    assert database._lender.use() == {"limit": 2, "open": 0, "used": 0, "waiting": 0}


async def test_of_those_given_back_at_once_one_is_let_go_for_others(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While more wait than there is room for, and the moment for it has come."""
    database, over, closed = Database(url, pool_size=4, wait_s=20), asyncio.Event(), []
    close = PipeliningSession.close
    monkeypatch.setattr(lending, "LET_GO_EVERY_S", 600)

    async def noted(session: PipeliningSession, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        closed.append(session)
        await close(session, timeout=timeout)

    async def hold() -> None:
        async with database.quick():
            await over.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(hold())
        await until(lambda: database._lender.use()["used"] == 4)
        for _ in range(8):
            group.create_task(use(database.quick))
        await until(lambda: database._lender._turns.contended)
        database._lender._let_go_at -= 601
        monkeypatch.setattr(PipeliningSession, "close", noted)
        over.set()
    assert len(closed) == 1
    await database.close()


@pytest.mark.parametrize("before", KINDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_loan_has_nothing_of_the_one_before(database: Database, before: str, kind: str) -> None:
    async with getattr(database, before)() as db:
        await ask(db, "SELECT 1")
    async with getattr(database, kind)() as db:
        isolation = await value(db, "SHOW transaction_isolation")
        assert isolation == ("repeatable read" if kind == "read" else "read committed")
        assert await value(db, "SHOW transaction_read_only") == ("on" if kind == "read" else "off")
        if kind != "read":
            await ask(db, "INSERT INTO once VALUES (1)")
    async with database.read() as db:
        assert await column(db, "SELECT number FROM once") == ([] if kind == "read" else [1])


async def insert(database: Database, numbers: str, then: Callable[[], Awaitable[None]], done: list[str]) -> None:
    async with database.begin() as db:
        after_commit(db, lambda: done.append(numbers))
        await ask(db, f"INSERT INTO once VALUES {numbers}")
        await then()


async def go_on() -> None:
    pass


async def fail() -> None:
    raise KeyError


@pytest.mark.parametrize(
    ("numbers", "then", "error"),
    [("(1), (1)", go_on, StatementRefused), ("(1)", fail, KeyError)],
    ids=["a commit that is refused", "a block that raises"],
)
async def test_of_what_is_not_committed_nothing_stays(
    database: Database, numbers: str, then: Callable[[], Awaitable[None]], error: type[Exception]
) -> None:
    done: list[str] = []
    with pytest.raises(error):
        await insert(database, numbers, then, done)
    await insert(database, "(3)", go_on, done)
    async with database.read() as db:
        assert await column(db, "SELECT number FROM once") == [3]
    assert done == ["(3)"]


async def test_a_cancelled_block_is_rolled_back(database: Database) -> None:
    done: list[str] = []
    inserted = asyncio.Event()

    async def wait() -> None:
        inserted.set()
        await asyncio.sleep(60)

    waiting = asyncio.create_task(insert(database, "(1)", wait, done))
    await inserted.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with database.read() as db:
        assert await column(db, "SELECT number FROM once") == []
    assert done == []
