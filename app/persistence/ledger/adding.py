"""Writing jobs, with the transaction that makes them necessary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger.rows import ClaimedJob, NewJob, Owner, to_json
from app.persistence.statements import column

ADDED = """
    INSERT INTO jobs (id, queue, run_id, supplier_id, parent_id, key, args, traceparent, direct, dispatched_at)
    SELECT r.id, r.queue, r.run_id, r.supplier_id, r.parent_id, r.key, r.args, r.traceparent, r.direct,
        clock_timestamp()
    FROM ROWS FROM (
        jsonb_to_recordset(CAST(:jobs AS jsonb))
            AS (id text, queue text, parent_id text, key text, args jsonb, traceparent text),
        unnest(CAST(:runs AS uuid[])), unnest(CAST(:suppliers AS int[])), unnest(CAST(:directs AS boolean[])))
        AS r(id, queue, parent_id, key, args, traceparent, run_id, supplier_id, direct)
    WHERE (SELECT j.id FROM jobs j
           WHERE j.run_id = r.run_id AND j.queue = r.queue AND j.key = r.key LIMIT 1) IS NULL
    ON CONFLICT (run_id, queue, key) DO NOTHING
    RETURNING id"""
"""Writes jobs and gives the ids of those that are new.

`dispatched_at` is set as if the message had been sent, since it will be right after the commit. Where that did not
happen the reconciler notices after ten seconds. A job that is there is looked for first: ON CONFLICT alone would wait
for whoever is ending it, and that one may wait for the addresses that the caller holds.
"""


async def add_jobs(
    db: AsyncConnection, jobs: Sequence[NewJob], *, run_id: str, supplier_id: int, direct: bool
) -> list[str]:
    """Write jobs as `waiting`, and return the ids of those whose key is new in the run."""
    return await _add(db, [((run_id, supplier_id, direct), job) for job in jobs])


async def add_children(db: AsyncConnection, children: Sequence[tuple[ClaimedJob, NewJob]]) -> list[str]:
    """The same for jobs of several runs, each with its parent; they are written in the order of runs and keys.

    So two transactions that write the same keys wait for each other in one order.
    """
    ordered = sorted(children, key=lambda pair: (pair[0].run_id, pair[1].queue, pair[1].key))
    return await _add(db, [(job.owner, child) for job, child in ordered])


async def _add(db: AsyncConnection, rows: Sequence[tuple[Owner, NewJob]]) -> list[str]:
    return await column(db, ADDED, added_values(rows)) if rows else []


def added_values(rows: Sequence[tuple[Owner, NewJob]]) -> dict[str, Any]:
    """What `ADDED` is given."""
    return {
        "jobs": to_json([job for _, job in rows]),
        "runs": [run_id for (run_id, _, _), _ in rows],
        "suppliers": [supplier_id for (_, supplier_id, _), _ in rows],
        "directs": [direct for (_, _, direct), _ in rows],
    }
