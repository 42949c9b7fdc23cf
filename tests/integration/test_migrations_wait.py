"""Migrations take as long as they need, and hold nobody up (docs/decisions/0011)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest
from structlog.testing import capture_logs

from app.persistence import sessions
from app.persistence.database import Database
from app.persistence.migrations import current_revision, migrate
from tests.support.databases import connected, execute, fresh_database
from tests.support.own_migrations import OwnMigrations
from tests.support.stack import Servers

Came = TypeVar("Came")
TABLES = ("suppliers", "documents", "products")
NOBODY_WAITS_LONGER = "5s"
"""CASES.md D9, as a reader's own bound: PostgreSQL is the judge, which knows what is a wait for a lock."""
ALTER_THREE = "\n".join(f'op.execute("ALTER TABLE {table} ADD COLUMN added int")' for table in TABLES)
QUEUED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"


@pytest.fixture
def own(tmp_path: Path) -> OwnMigrations:
    return OwnMigrations(tmp_path)


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with fresh_database(servers.postgres.url) as found:
        yield found


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def somebodys_dump(url: str) -> AsyncIterator[None]:
    """Reads the tables in a transaction that stays open until the block ends."""
    async with connected(url) as dump:
        await dump.execute("SET application_name = 'dump'; BEGIN")
        for table in TABLES:
            await dump.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        yield


async def until(db: asyncpg.Connection, sql: str) -> None:
    while not await db.fetchval(sql):  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(0.02)


async def count_tries(url: str, most: int) -> int:
    """Return when a migration has queued for its lock and given up `most` times."""
    tries, was_queued = 0, False
    async with connected(url) as db:
        while tries < most:
            queued = bool(await db.fetchval(QUEUED))
            tries += was_queued and not queued
            was_queued = queued
            await asyncio.sleep(0.02)
    return tries


async def read_on(url: str) -> None:
    """Read all tables again and again, as the API does; fails when PostgreSQL has let it wait too long for one."""
    async with connected(url) as db:
        await db.execute(f"SET lock_timeout = '{NOBODY_WAITS_LONGER}'")
        while True:
            for table in TABLES:
                await db.fetchval(f"SELECT count(*) FROM {table}")
            await asyncio.sleep(0.01)


async def behind_a_dump(url: str, migrating: Callable[[], Awaitable[Came]], held: Awaitable[object]) -> Came:
    """Migrate while a dump holds the tables until `held` returns, and no reader waits; what came out."""
    reading = asyncio.create_task(read_on(url))
    try:
        async with somebodys_dump(url):
            running = asyncio.ensure_future(migrating())
            await held
            assert not running.done()
        return await asyncio.wait_for(running, 60)
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


async def columns_added(url: str) -> int:
    async with connected(url) as db:
        return int(await db.fetchval("SELECT count(*) FROM information_schema.columns WHERE column_name = 'added'"))


async def test_it_waits_behind_a_dump_and_no_reader_waits_behind_it(
    url: str, own: OwnMigrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.add("9001", ALTER_THREE)
    own.use(monkeypatch)
    async with opened(url) as database:
        with capture_logs() as logs:
            await behind_a_dump(url, lambda: migrate(database), count_tries(url, 3))
        assert await current_revision(database) == "9001"
    assert await columns_added(url) == 3
    (said,) = [line for line in logs if line["event"] == "the migration waits"]
    assert "which session" in said["waits_for"]
    assert "(dump)" in said["waits_for"]


async def test_alembics_own_command_gives_way_too(url: str, own: OwnMigrations) -> None:
    own.add("9001", ALTER_THREE)
    ended = await behind_a_dump(url, lambda: own.alembic(url, "upgrade", "head"), count_tries(url, 2))
    assert (ended.code, await columns_added(url)) == (0, 3), ended


@pytest.mark.chaos
async def test_a_minute_behind_a_dump(url: str, own: OwnMigrations) -> None:
    """CASES.md D9."""
    own.add("9001", ALTER_THREE)
    ended = await behind_a_dump(url, lambda: own.alembic(url, "upgrade", "head"), asyncio.sleep(60))
    assert (ended.code, await columns_added(url)) == (0, 3), ended
    assert 1 < ended.err.count("the migration waits") < 10, ended.err


async def test_a_migration_takes_longer_than_any_statement_may(
    url: str, own: OwnMigrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither our own bounds nor those that a host gives to the database end it."""
    monkeypatch.setattr(sessions, "COMMAND_TIMEOUT_S", 0.5)
    monkeypatch.setattr(sessions, "TIME_OUTS", dict.fromkeys(sessions.TIME_OUTS, "500ms"))
    await execute(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET statement_timeout TO '500ms'")
    own.add("9001", 'op.execute("SELECT pg_sleep(1.5)")')
    own.use(monkeypatch)
    async with opened(url) as database:
        await migrate(database)
        assert await current_revision(database) == "9001"


async def test_an_index_is_built_beside_the_work_and_waits_for_old_transactions(
    url: str, own: OwnMigrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a wait blocks nobody, so that it has no bound; ended in the middle it would leave an invalid index."""
    build = "with op.get_context().autocommit_block():\n"
    build += '    op.execute("CREATE INDEX CONCURRENTLY added_index ON suppliers (code)")\n'
    own.add("9001", build + 'op.execute("ALTER TABLE suppliers ADD COLUMN added int")')
    own.use(monkeypatch)
    async with opened(url) as database, connected(url) as old:
        await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM runs")
        running = asyncio.create_task(migrate(database))
        async with connected(url) as db:
            await until(db, "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'virtualxid'")
            await asyncio.sleep(2.5)  # more than the bound of a wait for a table
            assert not running.done()
            await old.execute("COMMIT")
            await asyncio.wait_for(running, 30)
            valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'added_index'::regclass"
            assert await db.fetchval(valid) is True
        assert await current_revision(database) == "9001"


async def test_what_is_done_stays_done_while_the_next_one_waits(
    url: str, own: OwnMigrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.add("9001", 'op.execute("CREATE TABLE added_first (id int)")')
    own.add("9002", ALTER_THREE)
    own.use(monkeypatch)
    async with opened(url) as database, somebodys_dump(url):
        running = asyncio.create_task(migrate(database))
        await count_tries(url, 1)
        assert await current_revision(database) == "9001"
        running.cancel()
        await asyncio.wait([running])


async def test_one_waits_for_another_however_long_that_takes(url: str, own: OwnMigrations) -> None:
    own.add("9001", 'op.execute("SELECT pg_sleep(4)")\nop.execute("CREATE TABLE added_once (id int)")')
    both = await asyncio.gather(own.alembic(url, "upgrade", "head"), own.alembic(url, "upgrade", "head"))
    assert [ended.code for ended in both] == [0, 0], both
    assert sum("the migration waits" in ended.err + ended.out for ended in both) == 1


async def test_alembics_relative_targets_mean_what_they_say(url: str, own: OwnMigrations) -> None:
    for number in range(1, 4):
        create, drop = f"CREATE TABLE added_{number} (id int)", f"DROP TABLE added_{number}"
        own.add(f"900{number}", f'op.execute("{create}")', f'op.execute("{drop}")')
    for arguments, revision in [
        (("upgrade", "+2"), "9002"),
        (("downgrade", "-1"), "9001"),
        (("upgrade", "head"), "9003"),
    ]:
        ended = await own.alembic(url, *arguments)
        assert ended.code == 0, ended
        async with connected(url) as db:
            assert await db.fetchval("SELECT version_num FROM alembic_version") == revision
    assert (await own.alembic(url, "current")).out.startswith(revision)


async def test_alembic_writes_the_statements_down(own: OwnMigrations) -> None:
    ended = await own.alembic("postgresql://nobody@nowhere/nothing", "upgrade", "0002:0003", "--sql")
    assert ended.code == 0, ended
    assert "CREATE TABLE media_removals" in ended.out


@pytest.mark.parametrize(
    ("given", "words"),
    [("postgresql://u:hunter2@127.0.0.1:1/x", "127.0.0.1:1/x"), ("postgresql://u:hunter2@db/x?sslmod=a", "sslmod")],
)
async def test_alembic_says_in_one_line_what_is_wrong_with_the_address(
    own: OwnMigrations, given: str, words: str
) -> None:
    ended = await own.alembic(given, "upgrade", "head")
    assert (ended.code, len(ended.err.splitlines())) == (1, 1), ended
    assert words in ended.err
    assert "hunter2" not in ended.err
