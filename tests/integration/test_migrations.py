"""Migrations, up and down, on the oldest and the newest server that is supported; several at once leave one schema."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from app.cli.embedded import start_postgres
from app.errors import DatabaseMisfit
from app.persistence.database import Database
from app.persistence.migrations import current_revision, migrate, newest_by_name, newest_revision
from app.persistence.taking_writes import SEQUENCES, TABLES, try_to_write
from tests.support.command_line import command, environment
from tests.support.databases import database_named, execute, fresh_database
from tests.support.stack import Servers

LEFT = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relname <> 'alembic_version' AND c.relname <> 'alembic_version_pkc'
"""
DRAWN_FROM = """
SELECT relname FROM pg_class c WHERE relkind = 'S' AND relnamespace = CAST('public' AS regnamespace)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i') ORDER BY 1
"""
"""Sequences but those of identity columns."""


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


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_server_with_another_isolation_is_migrated_too(servers: Servers, level: str) -> None:
    """A guard whose snapshot lives as long as itself would be waited for by CREATE INDEX CONCURRENTLY, for ever."""
    name = f"isolated_{level[:3]}"
    await execute(servers.postgres.url, f"CREATE DATABASE {name}")
    await execute(servers.postgres.url, f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    database = Database(database_named(servers.postgres.url, name))
    async with asyncio.timeout(60):
        await migrate(database)
    assert await current_revision(database) == newest_revision()
    async with database.begin() as written, database.quick() as single:
        for db in (written, single):
            assert await db.scalar(text("SHOW transaction_isolation")) == "read committed", "what our rules are for"
    await database.close()
    await execute(servers.postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_the_tables_that_are_asked_for_their_rights_are_those_that_there_are(servers: Servers) -> None:
    async with fresh_database(servers.postgres.url) as url:
        database = Database(url)
        async with database.quick() as db:
            found = await db.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"))
            assert [name for name in found if name != "alembic_version"] == TABLES
            assert list(await db.scalars(text(DRAWN_FROM))) == SEQUENCES
            await db.execute(text("CREATE TABLE spatial_ref_sys (srid int)"))
            await db.execute(text("CREATE ROLE shop LOGIN PASSWORD 'shop'"))
            for name in TABLES:
                await db.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO shop"))
        await database.close()
        shop = Database(url.replace(urlsplit(url).netloc.rpartition("@")[0], "shop:shop"))
        with pytest.raises(DatabaseMisfit, match="let shop draw numbers from document_versions: GRANT USAGE ON these"):
            await try_to_write(shop)
        await execute(url, "GRANT USAGE ON SEQUENCE document_versions TO shop")
        await try_to_write(shop)  # what an extension keeps there, and may only be read, is none of our business
        await shop.close()
        await execute(url, "DROP OWNED BY shop")
    await execute(servers.postgres.url, "DROP ROLE shop")
