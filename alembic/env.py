"""Alembic's entry: migrates over the connection that `promidata-sync migrate` hands in, or over DATABASE_URL.

Statements are guarded by an advisory transaction lock, so that four migrations started at once leave one schema
(CASES.md B5); the lock is taken inside the transaction, so a transaction pooler does not mind.
"""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.setting_errors import ending_in_one_line
from app.settings import load_settings

MIGRATION_LOCK = 0x70726F6D


def migrate(connection: Connection) -> None:
    """Run the migrations that `context` was asked for, alone."""
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()


async def migrate_database_url() -> None:
    """Connect to DATABASE_URL and migrate it."""
    with ending_in_one_line():
        url = load_settings().database_url
    if url is None:
        raise SystemExit("alembic: set DATABASE_URL to the database to migrate")
    engine = create_async_engine(url.get_secret_value())
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    asyncio.run(migrate_database_url())
