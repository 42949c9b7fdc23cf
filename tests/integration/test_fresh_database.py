"""A database that a test has used is the template again, or is not used again (tests/support/databases.py)."""

from __future__ import annotations

import pytest

from tests.conftest import MakeStack
from tests.support.databases import TEMPLATE, connected, database_named, execute, fresh_database
from tests.support.stack import Servers

SEQUENCES = "SELECT sequencename, last_value, start_value FROM pg_sequences ORDER BY 1"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


async def contents(url: str) -> dict[str, object]:
    """Every row of every table, and where the sequences stand."""
    async with connected(url) as connection:
        found: dict[str, object] = {"sequences": await connection.fetch(SEQUENCES)}
        for (table,) in await connection.fetch(TABLES):
            found[table] = await connection.fetchval(f"SELECT json_agg(t) FROM {table} AS t")
    return found


async def test_what_a_sync_wrote_is_gone_for_the_next_test(servers: Servers, make_stack: MakeStack) -> None:
    async with make_stack() as stack:
        await stack.sync()
        assert stack.settings.database_url is not None
        url = stack.settings.database_url.get_secret_value()
        used = await contents(url)
        assert used["products"] is not None
    async with fresh_database(servers.postgres.url) as again:
        assert again == url, "it is used again"
        template = await contents(database_named(url, TEMPLATE))
        assert await contents(again) == template
        assert template["queues"] is not None, "rows that the migrations wrote are there again"


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE more (id int)",
        "ALTER TABLE products ADD COLUMN more int",
        "ALTER TABLE jobs DISABLE TRIGGER ALL",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA more",
        "DROP INDEX products_by_sku",
        "REVOKE INSERT ON jobs FROM CURRENT_USER",
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET work_mem = 65536'; END $$",
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' CONNECTION LIMIT 5'; END $$",
    ],
)
async def test_one_whose_schema_was_changed_is_not_used_again(servers: Servers, change: str) -> None:
    async with fresh_database(servers.postgres.url) as url:
        await execute(url, change)
    async with fresh_database(servers.postgres.url) as again:
        assert again != url
