"""Writing jobs, with the transaction that makes them necessary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger.rows import ClaimedJob, NewJob, Owner, to_json
from app.persistence.statements import column

WRITTEN = "id text, queue text, parent_id text, key text, args jsonb, traceparent text"
OF_ONE = f"""(
        SELECT j.*, CAST(:run AS uuid), CAST(:supplier AS int), CAST(:direct AS boolean)
        FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS j({WRITTEN}))"""
OF_MANY = f"""ROWS FROM (
        jsonb_to_recordset(CAST(:jobs AS jsonb)) AS ({WRITTEN}),
        unnest(CAST(:runs AS uuid[])), unnest(CAST(:suppliers AS int[])), unnest(CAST(:directs AS boolean[])))"""
"""Jobs of one run, and of several."""


def _added(jobs: str) -> str:
    return f"""
    INSERT INTO jobs (id, queue, run_id, supplier_id, parent_id, key, args, traceparent, direct, dispatched_at)
    SELECT r.id, r.queue, r.run_id, r.supplier_id, r.parent_id, r.key, r.args, r.traceparent, r.direct,
        clock_timestamp()
    FROM {jobs} AS r(id, queue, parent_id, key, args, traceparent, run_id, supplier_id, direct)
    WHERE (SELECT j.id FROM jobs j
           WHERE j.run_id = r.run_id AND j.queue = r.queue AND j.key = r.key LIMIT 1) IS NULL
    ON CONFLICT (run_id, queue, key) DO NOTHING
    RETURNING id"""


ADDED, ADDED_OF_MANY = _added(OF_ONE), _added(OF_MANY)
"""Writes jobs and gives the ids of those that are new.

`dispatched_at` is set as if the message had been sent, since it will be right after the commit. Where that did not
happen the reconciler notices after ten seconds. A job that is there is looked for first: ON CONFLICT alone would wait
for whoever is ending it, and that one may wait for the addresses that the caller holds.
"""


async def add_jobs(
    db: AsyncConnection, jobs: Sequence[NewJob], *, run_id: str, supplier_id: int, direct: bool
) -> list[str]:
    """Write jobs as `waiting`, and return the ids of those whose key is new in the run."""
    return await column(db, ADDED, added_values((run_id, supplier_id, direct), jobs)) if jobs else []


async def add_children(db: AsyncConnection, children: Sequence[tuple[ClaimedJob, NewJob]]) -> list[str]:
    """The same for jobs of several runs, each with its parent; they are written in the order of runs and keys.

    So two transactions that write the same keys wait for each other in one order.
    """
    ordered = sorted(children, key=lambda pair: (pair[0].run_id, pair[1].queue, pair[1].key))
    if not ordered:
        return []
    given = {
        "jobs": to_json([child for _, child in ordered]),
        "runs": [job.run_id for job, _ in ordered],
        "suppliers": [job.supplier_id for job, _ in ordered],
        "directs": [job.direct for job, _ in ordered],
    }
    return await column(db, ADDED_OF_MANY, given)


def added_values(owner: Owner, jobs: Sequence[NewJob]) -> dict[str, Any]:
    """What `ADDED` is given."""
    run_id, supplier_id, direct = owner
    return {"jobs": to_json(jobs), "run": run_id, "supplier": supplier_id, "direct": direct}
