"""Writing jobs, with the transaction that makes them necessary."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger.rows import NewJob, to_json


async def add_jobs(
    db: AsyncConnection, jobs: Sequence[NewJob], *, run_id: str, supplier_id: int, direct: bool
) -> list[str]:
    """Write jobs as `waiting`, and return the ids of those whose key is new in the run.

    `dispatched_at` is set as if the message had been sent, since it will be right after the commit; where that did not
    happen the reconciler notices after ten seconds.

    A job that is there is looked for first: ON CONFLICT alone would wait for whoever is ending it, and that one may
    wait for the addresses that the caller holds.
    """
    if not jobs:
        return []
    rows = await db.scalars(
        text("""
        INSERT INTO jobs (id, queue, run_id, supplier_id, parent_id, key, args, direct, dispatched_at)
        SELECT r.id, r.queue, CAST(:run_id AS uuid), :supplier_id, r.parent_id, r.key, r.args, :direct,
               clock_timestamp()
        FROM jsonb_to_recordset(CAST(:jobs AS jsonb))
             AS r(id text, queue text, parent_id text, key text, args jsonb)
        WHERE (SELECT j.id FROM jobs j
               WHERE j.run_id = CAST(:run_id AS uuid) AND j.queue = r.queue AND j.key = r.key LIMIT 1) IS NULL
        ON CONFLICT (run_id, queue, key) DO NOTHING
        RETURNING id"""),
        {"jobs": to_json(jobs), "run_id": run_id, "supplier_id": supplier_id, "direct": direct},
    )
    return list(rows)
