"""Whether PostgreSQL takes our writes: the rights to every table, and one row that is written and rolled back."""

from __future__ import annotations

from sqlalchemy import text

from app.errors import DatabaseMisfit
from app.persistence.database import Database

TABLES = [
    "addresses",
    "audit",
    "categories",
    "category_files",
    "change_head",
    "changes",
    "deliveries",
    "document_bodies",
    "documents",
    "idempotency_keys",
    "imprint_positions",
    "jobs",
    "listings",
    "manifests",
    "media",
    "media_removals",
    "minutes_head",
    "prices",
    "problems",
    "product_versions",
    "products",
    "queue_minutes",
    "queue_moves",
    "queue_totals",
    "queues",
    "runs",
    "service_minutes",
    "shown_pictures",
    "suppliers",
    "variants",
    "webhooks",
]
"""Ours, of all that may stand in the schema: what a shop or an extension keeps beside them is none of our business."""
RIGHTS_MISSING = """
SELECT string_agg(c.relname, ', ' ORDER BY c.relname) AS tables, current_user AS who FROM pg_class c
WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relname = ANY(:tables)
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
        missing = (await db.execute(text(RIGHTS_MISSING), {"tables": TABLES})).one()
        if missing.tables is not None:
            raise DatabaseMisfit(
                f"PostgreSQL at {database.address.shown} does not let {missing.who} read and write {missing.tables}: "
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON these tables TO {missing.who}"
            )
        async with db.begin_nested() as trial:
            await db.execute(text(TRIAL))
            await trial.rollback()
