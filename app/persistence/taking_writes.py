"""Whether PostgreSQL takes our writes: the rights to every table, and one row that is written and rolled back."""

from __future__ import annotations

from collections.abc import Iterator

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
SEQUENCES = ["document_versions"]
"""What statements of ours draw numbers from; a table's own identity asks for no right."""
RIGHTS_MISSING = """
SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FILTER (WHERE c.relkind <> 'S') AS tables,
    string_agg(c.relname, ', ' ORDER BY c.relname) FILTER (WHERE c.relkind = 'S') AS sequences, current_user AS who
FROM pg_class c
WHERE c.relnamespace = CAST(current_schema() AS regnamespace)
  AND CASE WHEN c.relkind = 'S'
      THEN c.relname = ANY(:sequences) AND NOT has_sequence_privilege(c.oid, 'USAGE')
      ELSE c.relname = ANY(:tables)
          AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                   AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')) END
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
        missing = (await db.execute(text(RIGHTS_MISSING), {"tables": TABLES, "sequences": SEQUENCES})).one()
        lacking = list(_lacking(missing.tables, missing.sequences, missing.who))
        if lacking:
            told = "; nor ".join(lacking)
            raise DatabaseMisfit(f"PostgreSQL at {database.address.shown} does not let {missing.who} {told}")
        async with db.begin_nested() as trial:
            await db.execute(text(TRIAL))
            await trial.rollback()


def _lacking(tables: str | None, sequences: str | None, who: str) -> Iterator[str]:
    if tables is not None:
        yield f"read and write {tables}: GRANT SELECT, INSERT, UPDATE, DELETE ON these tables TO {who}"
    if sequences is not None:
        yield f"draw numbers from {sequences}: GRANT USAGE ON these sequences TO {who}"
