"""COMMIT goes out behind a transaction's last statement: all of it holds then, or nothing; on both loops, with TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import DatabaseUnavailable
from app.failpoints import arm
from app.persistence import sessions
from app.persistence.committing import Committing
from app.persistence.database import Database
from app.persistence.failures import StatementRefused
from app.persistence.last_statements import ask_last
from app.persistence.statements import ask, column, value
from tests.support.databases import execute, failing_to_begin, fresh_database
from tests.support.loops import LOOPS, run_on
from tests.support.stack import Servers
from tests.support.tls_postgres import plainly_or_by_tls
from tests.support.wire import wire
from tests.support.worker_stack import until

NOTE = "INSERT INTO noted VALUES (:number) RETURNING number"
TABLES = (
    "CREATE TABLE noted (number int)",
    "CREATE TABLE once (number int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
)


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with fresh_database(servers.postgres.url) as url:
        for table in TABLES:
            await execute(url, table)
        yield url


@pytest.fixture(params=["plain", "tls"])
async def either_url(servers: Servers, url: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with plainly_or_by_tls(request.param, servers.postgres.port, url, tmp_path) as address:
        yield address


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url, pool_size=1)
    for _ in range(2):  # a statement takes COMMIT along once it is prepared
        await note(database, 0)
        await execute(url, "DELETE FROM noted")
    yield database
    await database.close()


@pytest.fixture
def commits(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each COMMIT that goes out behind a statement, from when the database is ready."""
    made: list[Any] = []

    class Noted(Committing):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(sessions, "Committing", Noted)
    return made


async def note(database: Database, *numbers: int, unless: str = "number < 0", kept: int = 0) -> None:
    """Write numbers in one transaction, the last of them by its last statement."""

    async def work(db: AsyncConnection) -> None:
        for number in numbers[:-1]:
            await ask(db, NOTE, {"number": number})
        await ask_last(db, NOTE, {"number": numbers[-1]}, unless=unless)
        for number in range(kept):
            await ask(db, NOTE, {"number": 100 + number})

    await database.transact(work)


async def noted(database: Database) -> list[Any]:
    async with database.read() as db:
        return await column(db, "SELECT number FROM noted ORDER BY number")


@pytest.mark.parametrize("loop", LOOPS)
async def test_what_is_written_holds(either_url: str, loop: str) -> None:
    async def use() -> list[Any]:
        database = Database(either_url, pool_size=1)
        for number in range(4):
            await note(database, 10 + number)
            await note(database, 20 + number, 30 + number)
        found = await noted(database)
        await database.close()
        return found

    assert await run_on(loop, use) == [*range(10, 14), *range(20, 24), *range(30, 34)]


async def test_a_transaction_of_one_statement_waits_once(url: str) -> None:
    async with wire(url) as counted:
        database = Database(counted.url, pool_size=1)
        await note(database, 1, 1)  # what is not prepared yet is asked for twice
        waits = []
        for numbers in ((2,), (3, 4)):
            before = counted.waits
            await note(database, *numbers)
            waits.append(counted.waits - before)
        await database.close()
    assert waits == [1, 2]


async def test_one_that_turns_out_not_to_be_the_last_is_followed_by_the_others(
    database: Database, commits: list[Any]
) -> None:
    await note(database, 3, unless="number = 2")  # with this condition it is prepared now
    await note(database, 1, 2, unless="number = 2", kept=2)
    assert await noted(database) == [1, 2, 3, 100, 101]
    assert len(commits) == 1, "it took a COMMIT along, which was refused"


async def test_nothing_may_follow_the_last(database: Database) -> None:
    with pytest.raises(AssertionError, match="behind the COMMIT"):
        await note(database, 1, 2, kept=1)

    async def work(db: AsyncConnection) -> None:
        await ask_last(db, NOTE, {"number": 3}, unless="number < 0")
        await db.execute(sqlalchemy.text("INSERT INTO noted VALUES (4)"))

    with pytest.raises(AssertionError, match="behind the COMMIT"):
        await database.transact(work)
    assert await noted(database) == [1, 2, 3]


@pytest.mark.parametrize("failing", ["CAST('no number' || :number AS int)", "(SELECT 1 / :number)"])
async def test_where_it_fails_nothing_is_written_and_the_connection_goes_on(database: Database, failing: str) -> None:
    async def work(db: AsyncConnection) -> None:
        await ask(db, NOTE, {"number": 1})
        given = {"number": "x" if "CAST" in failing else 0}
        await ask_last(db, f"INSERT INTO noted SELECT {failing} RETURNING number", given, unless="number < 0")

    async with database.quick() as db:
        pid = await value(db, "SELECT pg_backend_pid()")
    for _ in range(3):
        with pytest.raises(StatementRefused):
            await database.transact(work)
    await note(database, 7)
    assert await noted(database) == [7]
    async with database.quick() as db:
        assert await value(db, "SELECT pg_backend_pid()") == pid


async def test_where_the_commit_fails_it_is_said_and_nothing_is_written(database: Database) -> None:
    async def work(db: AsyncConnection) -> None:
        await ask(db, NOTE, {"number": 1})
        await ask_last(db, "INSERT INTO once VALUES (1) RETURNING number", {}, unless="number < 0")

    await database.transact(work)
    for _ in range(3):
        with pytest.raises(StatementRefused) as refused:
            await database.transact(work)
        assert refused.value.sqlstate == "23505"
    assert await noted(database) == [1]


async def test_a_statement_that_has_to_be_prepared_anew_does_not_run_outside_of_its_transaction(
    database: Database, url: str
) -> None:
    """asyncpg sends it once more by itself where it takes it to be in none."""

    async def work(db: AsyncConnection) -> None:
        await ask(db, NOTE, {"number": 1})
        await ask_last(db, "INSERT INTO noted VALUES (2) RETURNING *", {}, unless="number < 0")

    for _ in range(2):
        await database.transact(work)
    await execute(url, "DELETE FROM noted")
    await execute(url, "ALTER TABLE noted ADD COLUMN more int")
    with pytest.raises(StatementRefused):
        await database.transact(work)
    assert await noted(database) == []
    await database.transact(work)
    assert await noted(database) == [1, 2]


async def test_where_it_is_given_up_nothing_is_written(database: Database, url: str) -> None:
    other = Database(url, pool_size=1)
    async with other.begin() as db:
        await ask(db, "LOCK TABLE once")
        blocked = asyncio.create_task(_note_once(database))
        await until(lambda: _somebody_waits(url), 10)
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked
    await other.close()
    await note(database, 7)
    assert await noted(database) == [7]


async def _note_once(database: Database) -> None:
    async def work(db: AsyncConnection) -> None:
        await ask(db, NOTE, {"number": 1})
        await ask_last(db, "INSERT INTO once VALUES (1) RETURNING number", {}, unless="number < 0")

    await database.transact(work)


async def _somebody_waits(url: str) -> bool:
    looking = Database(url, pool_size=1)
    try:
        async with looking.quick() as db:
            return bool(await value(db, "SELECT count(*) FROM pg_locks WHERE NOT granted"))
    finally:
        await looking.close()


async def test_a_server_that_ended_meanwhile_is_away(database: Database, url: str) -> None:
    async def work(db: AsyncConnection) -> None:
        pid = await value(db, "SELECT pg_backend_pid()")
        await execute(url, f"SELECT pg_terminate_backend({pid}, 5000)")
        await ask_last(db, NOTE, {"number": 1}, unless="number < 0")

    with pytest.raises(DatabaseUnavailable):
        await database.transact(work)
    assert await noted(database) == []


async def test_nobody_is_warned_of_a_transaction_that_is_over(database: Database, commits: list[Any]) -> None:
    """What ends twice is a line in the server's log each time."""
    said: list[str] = []
    async with database.quick() as db:
        assert db.sync_connection is not None
        session: Any = db.sync_connection.connection.driver_connection
    session.add_log_listener(lambda _, message: said.append(str(message)))
    for _ in range(2):
        await note(database, 1, 2, unless="number = 2")
        await note(database, 3)
        with suppress(StatementRefused):
            sql = "INSERT INTO noted SELECT 1 / CAST(:number AS int) RETURNING number"
            await database.transact(lambda db: ask_last(db, sql, {"number": 0}, unless="number < 0"))  # noqa: B023
    assert len(commits) == 4
    assert said == []
    await session.execute("ROLLBACK")
    assert len(said) == 1, "it is heard, else this test sees nothing"


async def test_one_that_could_not_begin_is_not_committed_either(database: Database, commits: list[Any]) -> None:
    with failing_to_begin(database), pytest.raises(DatabaseUnavailable, match="unrecognized configuration parameter"):
        await note(database, 1)
    assert len(commits) == 1
    assert await noted(database) == []


async def test_a_session_whose_commit_did_not_end_its_transaction_is_not_lent_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation that comes late, as of the statement before, may hit the COMMIT before it begins."""
    execute_as_it_is = asyncpg.Connection.execute

    async def hit(self: Any, query: str, *args: Any, **given: Any) -> Any:
        return await execute_as_it_is(self, "SELECT 1 / 0" if query == "COMMIT;" else query, *args, **given)

    async def work(db: AsyncConnection) -> None:
        await ask(db, NOTE, {"number": 1})

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.Connection, "execute", hit)
        with pytest.raises((DatabaseUnavailable, StatementRefused)):
            await database.transact(work)
    await note(database, 7)
    assert await noted(database) == [7]


async def test_outside_of_what_is_repeated_a_commit_is_waited_for(database: Database) -> None:
    with suppress(ZeroDivisionError):
        async with database.begin() as db:
            await ask_last(db, NOTE, {"number": 1}, unless="number = 1")
            raise ZeroDivisionError
    assert await noted(database) == []


async def test_behind_a_pooler_too(url: str) -> None:
    database = Database(url, pool_size=1, transaction_pooler=True)
    await note(database, 1, 2, unless="number = 2", kept=1)
    assert await noted(database) == [1, 2, 100]
    await database.close()


async def test_a_drill_that_ends_before_the_commit_does_so(database: Database) -> None:
    async def work(db: AsyncConnection) -> None:
        await ask_last(db, NOTE, {"number": 1}, unless="number < 0")
        await ask(db, NOTE, {"number": 2})

    arm("integration.test_last_statements.test_a_drill_that_ends_before_the_commit_does_so:before-commit#2")
    try:
        await database.transact(work)
    finally:
        arm(None)
    assert await noted(database) == [1, 2], "a second statement found its transaction open"
