"""Alembic's entry: over the connection that `promidata-sync migrate` hands in, or over DATABASE_URL.

Both go through `run_alone`, so that several at once leave one schema (CASES.md B5) and nobody waits behind a migration
that does not get its locks (D9). With `--sql` it only writes down what would be done.
"""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection

from app.errors import PromidataSyncError
from app.logs import configure_logs
from app.persistence.database import Database
from app.persistence.database_address import database_url
from app.persistence.migrating import run_alone
from app.persistence.migrations import note_compatibility, refuse_unknown
from app.setting_errors import ending_in_one_line
from app.settings import load_settings

target = str(getattr(context.config.cmd_opts, "revision", ""))


def migrate(connection: Connection) -> None:
    """Run the migrations that `context` was asked for.

    Each is a transaction of its own, so that what one locked is free while the next one runs. Only those of a target
    such as `+1` are one together: it means another revision once a part of it is done.
    """
    context.configure(
        connection=connection,
        transaction_per_migration=not target.startswith(("+", "-")),
        on_version_apply=note_compatibility,
    )
    refuse_unknown(context.get_context().get_current_heads(), context.script)
    with context.begin_transaction():
        context.run_migrations()


async def migrate_database_url() -> None:
    """Connect to DATABASE_URL and migrate it."""
    with ending_in_one_line():
        settings = load_settings()
    configure_logs(settings.log_level)
    database = Database(database_url(settings), transaction_pooler=settings.database_transaction_pooler)
    try:
        await run_alone(database, migrate)
    finally:
        await database.close()


def write_down() -> None:
    """Write the statements to standard output."""
    context.configure(dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
elif context.is_offline_mode():
    write_down()
else:
    try:
        asyncio.run(migrate_database_url())
    except PromidataSyncError as error:
        raise SystemExit(f"alembic: {error}") from None
