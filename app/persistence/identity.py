"""Which database and schema this is, in words that another installation does not share.

The cluster's identifier and the database's number in it: unlike a row of our own they differ in a copy that was made
by dump and restore or from a template, and stay through a failover to a replica. The schema is where our tables are,
or will be: where that is does not change with who asks, as the first of a search_path may.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

NOT_TOLD = "0"
SCHEMA = """
SELECT coalesce(
    (SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = to_regclass('alembic_version')),
    current_schema(), '')
"""


async def schema_identity(db: AsyncConnection) -> str:
    """The word of the schema."""
    return str(await db.scalar(text(SCHEMA)))


async def database_identity(db: AsyncConnection) -> str:
    """The word of the database. A host that hides the cluster's identifier leaves name and number of the database."""
    told = await db.scalar(text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"))
    cluster = NOT_TOLD
    if told:
        cluster = str(await db.scalar(text("SELECT system_identifier FROM pg_control_system()")))
    named = await db.scalar(
        text("SELECT CAST(oid AS text) || '.' || datname FROM pg_database WHERE datname = current_database()")
    )
    return f"{cluster}.{named}"
