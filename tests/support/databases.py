"""Databases for tests: copied from a migrated template, and used again by the next test once they are as new.

fresh_database ─▶ one that lies ready, or CREATE DATABASE … TEMPLATE
     the test
               ─▶ sessions ended ─▶ is the schema the template's? ─▶ rows gone, the template's back ─▶ it lies ready
                                                                  └▶ DROP DATABASE

A copy is some 330 files of 9 MB, in memory that the kernel has to find: 0.06 to 0.36 s of a processor where it was
measured, with hundreds of tests that each ask for one. Emptying the tables that have pages cost 0.02 s there.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from app.persistence.database import Database
from app.persistence.migrations import migrate

TEMPLATE = "template_migrated"
_numbers = itertools.count(1)

CATALOGS = (
    "pg_attrdef", "pg_attribute", "pg_collation", "pg_constraint", "pg_default_acl", "pg_extension", "pg_index",
    "pg_largeobject_metadata", "pg_namespace", "pg_policy", "pg_proc", "pg_publication", "pg_rewrite",
    "pg_statistic_ext", "pg_trigger", "pg_type",
)  # fmt: skip
"""A schema's parts, but pg_class: emptying a table changes its row there."""
SCHEMA = " UNION ALL ".join(
    f"SELECT '{catalog}', count(*), CAST(max(CAST(CAST(xmin AS text) AS bigint)) AS text) FROM {catalog}"
    for catalog in CATALOGS
)
"""Any row that was added, changed or dropped shows in its catalog's number of rows or newest transaction."""
RELATIONS = """
SELECT 'pg_class', count(*), md5(string_agg(concat_ws(
    ' ', oid, relname, relkind, relowner, relacl, reloptions, relpersistence, relreplident), ',' ORDER BY oid))
FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace)
"""
SET_FOR_THE_DATABASE = """
SELECT 'pg_database', count(setting.*), string_agg(concat_ws(' ', setrole, setconfig, datacl, datconnlimit), ',')
FROM pg_database LEFT JOIN pg_db_role_setting AS setting ON setdatabase = pg_database.oid
WHERE datname = current_database()
"""
FINGERPRINT = f"{SCHEMA} UNION ALL {RELATIONS} UNION ALL {SET_FOR_THE_DATABASE}"

END_SESSIONS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
EMPTY = """
DO $$
DECLARE used text;
BEGIN
    SELECT string_agg(CAST(CAST(oid AS regclass) AS text), ',') INTO used FROM pg_class
    WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'p') AND pg_relation_size(oid) > 0;
    IF used IS NOT NULL THEN EXECUTE 'TRUNCATE ' || used || ' CASCADE'; END IF;
END $$;
DELETE FROM pg_statistic
WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace));
"""
TABLES = "SELECT CAST(tablename AS text) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
SEQUENCES = """
SELECT CAST(schemaname || '.' || sequencename AS text) AS name, coalesce(last_value, start_value) AS value,
       last_value IS NOT NULL AS is_called
FROM pg_sequences
"""


@dataclass
class Stock:
    """The databases of one server that lie ready, and what they must be like."""

    fingerprint: object
    rows: str
    """Statements that bring back what the template holds."""
    ready: list[str] = field(default_factory=list)


_stocks: dict[str, Stock] = {}


def database_named(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def execute(url: str, statement: str) -> None:
    """Run one statement outside of any transaction."""
    async with connected(url) as connection:
        await connection.execute(statement)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection past SQLAlchemy."""
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg://", "postgresql://"))
    try:
        yield connection
    finally:
        await connection.close()


async def make_template(url: str) -> None:
    """Create the template, migrated."""
    await execute(url, f"CREATE DATABASE {TEMPLATE}")
    database = Database(database_named(url, TEMPLATE))
    await migrate(database)
    await database.close()
    async with connected(database_named(url, TEMPLATE)) as connection:
        _stocks[_server(url)] = Stock(await connection.fetch(FINGERPRINT), await _rows_of(connection))


async def _rows_of(connection: asyncpg.Connection) -> str:
    statements = []
    for (table,) in await connection.fetch(TABLES):
        rows = await connection.fetchval(f"SELECT json_agg(t) FROM {table} AS t")
        if rows is not None:
            statements.append(
                f"INSERT INTO {table} SELECT * FROM json_populate_recordset(CAST(NULL AS {table}), $rows${rows}$rows$)"
            )
    for name, value, is_called in await connection.fetch(SEQUENCES):
        statements.append(f"SELECT setval('{name}', {value}, {is_called})")
    return ";\n".join(statements)


@asynccontextmanager
async def fresh_database(url: str, *, template: str = TEMPLATE) -> AsyncIterator[str]:
    """The address of a database of one's own, migrated and empty, or a copy of `template`."""
    stock = _stocks[_server(url)] if template == TEMPLATE else None
    name = stock.ready.pop() if stock and stock.ready else await _copy(url, template)
    try:
        yield database_named(url, name)
    except BaseException:
        await _drop(url, name)
        raise
    if stock and await _as_new(database_named(url, name), stock):
        stock.ready.append(name)
    else:
        await _drop(url, name)


async def _copy(url: str, template: str) -> str:
    """Copied file by file, which costs a third of writing it through the log; nothing here is durable."""
    name = f"test_{next(_numbers)}"
    await execute(url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    return name


async def _drop(url: str, name: str) -> None:
    await execute(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _as_new(url: str, stock: Stock) -> bool:
    try:
        async with connected(url) as connection:
            await connection.execute(END_SESSIONS)
            if await connection.fetch(FINGERPRINT) != stock.fingerprint:
                return False
            await connection.execute(f"SET session_replication_role = replica;{EMPTY}{stock.rows}")
            return True
    except (asyncpg.PostgresError, OSError):
        return False


def _server(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


@contextmanager
def failing_to_begin(database: Database) -> Iterator[None]:
    """Whose durable transactions the server refuses to set up."""
    before = database._openings
    database._openings = replace(before, durable="SET LOCAL nonsense TO 1;")
    try:
        yield
    finally:
        database._openings = before


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    """A connection pool as the program has it, with options of the test's own."""
    database = Database(url, **options)
    try:
        yield database
    finally:
        await database.close()
