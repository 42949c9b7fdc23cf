"""Migrations, up and down, on the oldest and the newest server that is supported; several at once leave one schema."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import text

from app.cli.embedded import start_postgres
from app.persistence.database import Database
from app.persistence.migrations import current_revision, migrate, newest_by_name, newest_revision
from tests.support.command_line import command, environment
from tests.support.databases import database_named, execute
from tests.support.stack import Servers

LEFT = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relname <> 'alembic_version' AND c.relname <> 'alembic_version_pkc'
"""


async def count_left(database: Database) -> int:
    async with database.quick() as db:
        return int(await db.scalar(text(LEFT)) or 0)


async def up_and_down(url: str) -> None:
    database = Database(url)
    try:
        await migrate(database)
        assert await current_revision(database) == newest_revision()
        assert await count_left(database) > 20
        await migrate(database, "base")
        assert await count_left(database) == 0
        await migrate(database)
        assert await current_revision(database) == newest_revision()
    finally:
        await database.close()


def test_the_names_of_the_migrations_tell_which_is_the_newest() -> None:
    """So that a worker need not load Alembic to see that its schema fits."""
    assert newest_by_name() == newest_revision() != ""


@pytest.mark.parametrize("version", [16, 18])
def test_the_schema_goes_up_and_down(version: Literal[16, 18], tmp_path: Path) -> None:
    with start_postgres(tmp_path, say=lambda _: None, version=version, durable=False) as server:
        try:
            asyncio.run(up_and_down(server.url))
        finally:
            server.stop(discard=True)


async def test_four_migrations_at_once_leave_one_schema(servers: Servers, tmp_path: Path) -> None:
    """CASES.md B5."""
    name = "migrated_by_four"
    await execute(servers.postgres.url, f"CREATE DATABASE {name}")
    url = database_named(servers.postgres.url, name)
    env = environment(DATABASE_URL=url, DATA_DIR=str(tmp_path))
    all_four = await asyncio.gather(*(command(tmp_path, env, "migrate") for _ in range(4)))
    assert [ended.code for ended in all_four] == [0, 0, 0, 0], all_four
    database = Database(url)
    assert await current_revision(database) == newest_revision()
    await database.close()
    await execute(servers.postgres.url, f"DROP DATABASE {name} WITH (FORCE)")
