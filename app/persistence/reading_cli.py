"""What the command line asks of the database itself: its version, how much is in the catalogue, whose a job is."""

from __future__ import annotations

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class CatalogueTotals(msgspec.Struct, frozen=True):
    """How much is in the catalogue: what is active, and the stored pictures."""

    suppliers: int
    families: int
    variants: int
    pictures: int


async def count_catalogue(db: AsyncConnection) -> CatalogueTotals:
    """Count what is active, and the stored pictures; by full scans, so not for every request."""
    rows = await db.execute(
        text("""
        SELECT (SELECT count(*) FROM suppliers WHERE is_active) AS suppliers,
            (SELECT count(*) FROM products WHERE status = 'active') AS families,
            (SELECT count(*) FROM variants WHERE status = 'active') AS variants,
            (SELECT count(*) FROM media) AS pictures""")
    )
    return CatalogueTotals(**rows.mappings().one())


async def server_version(db: AsyncConnection) -> str:
    """The version that the server states of itself, such as `18.1`."""
    return str(await db.scalar(text("SELECT split_part(current_setting('server_version'), ' ', 1)")))


async def queue_of_job(db: AsyncConnection, job_id: str) -> str | None:
    """The queue of a job, or None when there is no such job."""
    queue: str | None = await db.scalar(text("SELECT queue FROM jobs WHERE id = :id"), {"id": job_id})
    return queue
