"""Reading the ledger: one job, pages of jobs, and the numbers of each queue.

Jobs of direct runs can be found by their id; they are in no list and no number, since no queue ever held them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.statements import text
from app.persistence.suppliers import meant

ERROR_SHOWN_CHARS = 300
"""What a list shows of an error; one job alone shows all that is kept."""


class JobRow(msgspec.Struct, frozen=True):
    """A job as the ledger holds it."""

    id: str
    queue: str
    state: str
    run_id: str
    parent_id: str | None
    attempts: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


class JobFilter(msgspec.Struct, frozen=True):
    """Which jobs of a queue are meant; None means any."""

    queue: str
    state: str | None = None
    run_id: str | None = None
    supplier: str | None = None
    """A supplier's code or `documentId`."""


LISTED = "j.id, j.queue, j.state, CAST(j.run_id AS text) AS run_id, j.parent_id, j.attempts"
TIMES = "j.created_at, j.started_at, j.finished_at"
SUPPLIER = f"j.supplier_id = ({meant('supplier')})"


NEWEST_FIRST = "ORDER BY j.created_at DESC, j.id DESC LIMIT :limit"
EACH_STATE = f"""
SELECT j.* FROM unnest(ARRAY['waiting', 'active', 'delayed', 'completed', 'failed', 'cancelled']) AS s(state)
CROSS JOIN LATERAL (SELECT * FROM jobs j WHERE j.state = s.state AND {{conditions}} {NEWEST_FIRST}) j
"""
"""The newest of each state: so the index by state serves here too, and a job's every write has one index less."""


async def find_job(db: AsyncConnection, queue: str, job_id: str) -> JobRow | None:
    """One job with its progress and result."""
    rows = await db.execute(
        text(f"""
        SELECT {LISTED}, {TIMES}, j.error, j.progress, j.result FROM jobs j WHERE j.id = :id AND j.queue = :queue"""),
        {"id": job_id, "queue": queue},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else JobRow(**row)


async def list_jobs(
    db: AsyncConnection, wanted: JobFilter, *, after: tuple[datetime, str] | None, limit: int
) -> list[JobRow]:
    """A page of a queue's jobs, the newest first, from after (`created_at`, `id`)."""
    statement, parameters = jobs_statement(wanted, after=after, limit=limit)
    rows = await db.execute(text(statement), parameters)
    return [JobRow(**row) for row in rows.mappings()]


def jobs_statement(
    wanted: JobFilter, *, after: tuple[datetime, str] | None, limit: int
) -> tuple[str, dict[str, object]]:
    """The statement behind `list_jobs`, with its parameters; a direct run's jobs are listed when it is named."""
    conditions = ["j.queue = :queue"]
    parameters: dict[str, object] = {"queue": wanted.queue, "limit": limit, "shown": ERROR_SHOWN_CHARS}
    if wanted.state is not None:
        conditions.append("j.state = :state")
        parameters["state"] = wanted.state
    if wanted.run_id is None:
        conditions.append("NOT j.direct")
    else:
        conditions.append("j.run_id = CAST(:run_id AS uuid)")
        parameters["run_id"] = wanted.run_id
    if wanted.supplier is not None:
        conditions.append(SUPPLIER)
        parameters["supplier"] = wanted.supplier
    if after is not None:
        conditions.append(
            '(j.created_at, j.id) < (CAST(:after_at AS timestamptz), CAST(:after_id AS text) COLLATE "C")'
        )
        parameters |= {"after_at": after[0], "after_id": after[1]}
    found = "SELECT * FROM jobs j WHERE " + " AND ".join(conditions) + f" {NEWEST_FIRST}"
    if wanted.state is None and wanted.run_id is None and wanted.supplier is None:
        found = EACH_STATE.format(conditions=" AND ".join(conditions))
    return f"SELECT {LISTED}, {TIMES}, left(j.error, :shown) AS error FROM ({found}) j {NEWEST_FIRST}", parameters


class QueueNumbers(msgspec.Struct, frozen=True):
    """How many jobs of a queue are in each state, and whether it is paused."""

    name: str
    paused: bool
    states: dict[str, int]


COUNT_JOBS = """
SELECT q.name, q.paused,
    COALESCE(jsonb_object_agg(c.state, c.number) FILTER (WHERE c.number > 0), '{}') AS states
FROM queues q LEFT JOIN (
    SELECT n.queue, n.state, sum(n.jobs) AS number FROM (
        SELECT queue, state, jobs FROM queue_totals UNION ALL SELECT queue, state, jobs FROM queue_moves) n
    GROUP BY n.queue, n.state) c ON c.queue = q.name
WHERE q.name = ANY(CAST(:queues AS text[])) GROUP BY q.name, q.paused
"""
"""From the counters that the triggers of migration 0008 keep, not from the jobs: a million of them cost nothing."""


async def count_jobs(db: AsyncConnection, queues: Sequence[str]) -> dict[str, QueueNumbers]:
    """The numbers of these queues, by name, all of one moment."""
    rows = await db.execute(text(COUNT_JOBS), {"queues": list(queues)})
    return {row.name: QueueNumbers(row.name, row.paused, row.states) for row in rows}


async def queue_of_job(db: AsyncConnection, job_id: str) -> str | None:
    """The queue of a job, or None when there is no such job."""
    queue: str | None = await db.scalar(text("SELECT queue FROM jobs WHERE id = :id"), {"id": job_id})
    return queue
