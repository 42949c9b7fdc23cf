"""Whom a migration waits for where no time-out ends the wait is said while it lasts (app/persistence/blocking.py)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from app.persistence import blocking
from app.persistence.database import Database
from app.persistence.migrations import current_revision, migrate
from tests.support.databases import connected, execute, fresh_database
from tests.support.own_migrations import OwnMigrations
from tests.support.pgbouncer import pgbouncer
from tests.support.stack import Servers
from tests.support.worker_stack import until

Line = MutableMapping[str, Any]
BUILD = """
op.execute("CREATE TABLE IF NOT EXISTS added (id int)")
with op.get_context().autocommit_block():
    op.execute("CREATE INDEX CONCURRENTLY added_index ON added (id)")
"""
ROLE = "migrator"
OF_A_MIGRATION = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '% migrate'"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnMigrations:
    """Asked after a moment, not after fifteen seconds; one migration that builds an index beside the work."""
    monkeypatch.setattr(blocking, "SAY_EVERY_S", 0.05)
    migrations = OwnMigrations(tmp_path)
    migrations.add("9001", BUILD)
    migrations.use(monkeypatch)
    return migrations


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with fresh_database(servers.postgres.url) as found:
        yield found


@asynccontextmanager
async def limited(url: str, more: str = "") -> AsyncIterator[str]:
    """The address of a role that is no superuser, and may do just what the migration needs; `more` of CREATE ROLE."""
    parts = urlsplit(url)
    await execute(url, f"CREATE ROLE {ROLE} LOGIN PASSWORD 'migrator' {more}")
    await execute(url, f"ALTER TABLE alembic_version OWNER TO {ROLE}")
    await execute(url, f"GRANT CREATE ON SCHEMA public TO {ROLE}")
    try:
        yield f"{parts.scheme}://{ROLE}:migrator@{parts.hostname}:{parts.port}{parts.path}"
    finally:
        await execute(url, f"REASSIGN OWNED BY {ROLE} TO CURRENT_USER; DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


@asynccontextmanager
async def old_transaction(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody who saw the database before the index is built, until the block ends."""
    async with connected(url) as old:
        await old.execute("SET application_name = 'report'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM runs")
        yield old


async def said_until_they_end(
    url: str, in_the_way: list[asyncpg.Connection], enough: Callable[[], bool] | None = None, *, pooled: bool = False
) -> list[Line]:
    """What a migration said, of whom it waits for if not told until when; then those end, and then it does, well."""
    database = Database(url, pool_size=1, transaction_pooler=pooled)
    with capture_logs() as logs:
        running = asyncio.create_task(migrate(database))
        try:
            await until(lambda: running.done() or (any("do" in line for line in logs) if enough is None else enough()))
            assert not running.done()
            said = list(logs)
            for session in in_the_way:
                await session.execute("COMMIT")
            await asyncio.wait_for(running, 60)
            assert await current_revision(database) == "9001"
        finally:
            running.cancel()
            await asyncio.wait([running])
            await database.close()
    return said


async def test_an_index_that_waits_for_an_old_transaction_says_whose_it_is_and_what_to_do(
    url: str, own: OwnMigrations
) -> None:
    async with old_transaction(url) as old:
        (line,) = await said_until_they_end(url, [old])
        pid = old.get_server_pid()
        role = urlsplit(url).username
        assert line["log_level"] == "warning"
        assert line["waits_for"].startswith(
            f"session {pid} (report, role {role}, idle in transaction), whose transaction"
        )
        assert line["do"].endswith(f"SELECT pg_terminate_backend({pid})")
        assert line["seconds"] >= 0
        assert await old.fetchval(OF_A_MIGRATION) == 0


async def test_what_it_advises_lets_it_go_on(url: str, own: OwnMigrations) -> None:
    async with old_transaction(url), connected(url) as operator:
        database = Database(url)
        with capture_logs() as logs:
            running = asyncio.create_task(migrate(database))
            await until(lambda: logs)
            await operator.execute(logs[0]["do"].partition(", or ")[2])
            await asyncio.wait_for(running, 60)
        await database.close()


async def test_a_role_that_may_not_look_at_others_is_told_what_it_may_see(url: str, own: OwnMigrations) -> None:
    async with old_transaction(url) as old, limited(url) as theirs:
        (line,) = await said_until_they_end(theirs, [old])
        assert line["waits_for"] == f"session {old.get_server_pid()} (report, role {urlsplit(url).username})"


async def test_where_there_is_no_third_connection_it_says_so_once_and_goes_on(
    url: str, own: OwnMigrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, asked = blocking._who_blocks, []

    async def counted(engine: AsyncEngine) -> Sequence[Row[Any]]:
        asked.append(engine)
        return await ask(engine)

    monkeypatch.setattr(blocking, "_who_blocks", counted)
    async with old_transaction(url) as old, limited(url, "CONNECTION LIMIT 2") as theirs:
        said = await said_until_they_end(theirs, [old], lambda: len(asked) > 3)
        (line,) = [line for line in said if "cannot be asked" in line["event"]]
        assert line["error"] == "the server is at its limit of connections"


async def test_of_several_three_are_named_and_the_one_to_end_is_the_oldest(url: str, own: OwnMigrations) -> None:
    await execute(url, "CREATE TABLE added (id int)")
    async with AsyncExitStack() as opened:
        held = [await opened.enter_async_context(connected(url)) for _ in range(5)]
        for session in held:
            await session.execute("BEGIN; LOCK TABLE added IN SHARE MODE")
        (line,) = await said_until_they_end(url, held)
        oldest = [session.get_server_pid() for session in held[:3]]
        assert [int(pid) for pid in re.findall(r"session (\d+)", line["waits_for"])] == oldest
        assert line["waits_for"].endswith("; and 2 more")
        assert line["do"].endswith(f"({oldest[0]})")


@pytest.mark.pgbouncer
async def test_behind_a_transaction_pooler_it_is_said_as_well(servers: Servers, url: str, own: OwnMigrations) -> None:
    with pgbouncer(servers.postgres.url) as pooler:
        async with old_transaction(url) as old:
            (line,) = await said_until_they_end(pooler.url(url), [old], pooled=True)
            assert f"session {old.get_server_pid()} " in line["waits_for"]
