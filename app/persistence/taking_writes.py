"""Whether PostgreSQL takes our writes: the rights to every table, and one row that is written and rolled back."""

from __future__ import annotations

from sqlalchemy import text

from app.errors import DatabaseMisfit
from app.persistence.database import Database

RIGHTS_MISSING = """
SELECT string_agg(c.relname, ', ' ORDER BY c.relname) AS tables, current_user AS who FROM pg_class c
WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind = 'r' AND c.relname <> 'alembic_version'
  AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
           AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
"""
TRIAL = """
INSERT INTO idempotency_keys (caller, key, body_sha256) VALUES ('a trial', CAST(gen_random_uuid() AS text), '')
"""


async def try_to_write(database: Database) -> None:
    """Try what every write needs; nothing of it stays.

    Raises:
        DatabaseUnavailable: it is away, read-only or full; says which, and what to do.
        DatabaseMisfit: a right is missing; says which, and what to grant.
    """
    async with database.begin() as db:
        missing = (await db.execute(text(RIGHTS_MISSING))).one()
        if missing.tables is not None:
            raise DatabaseMisfit(
                f"PostgreSQL at {database.address.shown} does not let {missing.who} read and write {missing.tables}: "
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON these tables TO {missing.who}"
            )
        async with db.begin_nested() as trial:
            await db.execute(text(TRIAL))
            await trial.rollback()
