"""What operators do to jobs: retry, cancel, delete. Rows are locked as everywhere: jobs by id, then the runs' rows.

Every statement takes its rows as one array, so 50,000 failed jobs cost 50 small transactions and no long statement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.database import RepeatTransaction
from app.persistence.ledger import to_json
from app.persistence.states import CANCELLED, OPEN_JOB, RUN_UNDER_WAY


class JobState(msgspec.Struct, frozen=True):
    """What decides whether a verb may be used on a job."""

    state: str
    direct: bool
    run_id: str
    run_status: str
    busy: bool
    """Another run of the same supplier is under way."""
    supplier: str
    """Its code."""
    is_supplier_active: bool


class FailedJob(msgspec.Struct, frozen=True):
    """A failed job that may be retried."""

    id: str
    address_id: int | None
    """The address that it asks for, when it is a picture's."""


class FailedPage(msgspec.Struct, frozen=True):
    """Some failed jobs that may be retried, the newest first, and where the next page begins."""

    jobs: list[FailedJob]
    last: tuple[datetime, str] | None
    """The newest-first position of the last row looked at; None when there was none."""


class ReopenedJob(msgspec.Struct, frozen=True):
    """A job that waits again, to be sent."""

    id: str
    queue: str
    run_id: str


OTHER_RUN = f"""(EXISTS (SELECT FROM runs o WHERE o.supplier_id = j.supplier_id AND o.id <> j.run_id
    AND o.status IN {RUN_UNDER_WAY})
  OR EXISTS (SELECT FROM jobs o WHERE o.supplier_id = j.supplier_id AND o.queue = 'supplier-sync' AND o.id <> j.id
    AND NOT o.direct AND (o.state IN {OPEN_JOB}
                          OR o.state = 'failed' AND (o.created_at, o.id) > (j.created_at, j.id))))"""
"""Another sync of the supplier is under way or has been retried, or failed later: one at a time (ENGINE.md 2)."""


async def job_state(db: AsyncConnection, queue: str, job_id: str) -> JobState | None:
    """Read and hold a job."""
    rows = await db.execute(
        text(f"""
        SELECT j.state, j.direct, CAST(j.run_id AS text) AS run_id, r.status AS run_status, {OTHER_RUN} AS busy,
            s.code AS supplier, s.is_active AS is_supplier_active
        FROM jobs j JOIN runs r ON r.id = j.run_id JOIN suppliers s ON s.id = j.supplier_id
        WHERE j.id = :id AND j.queue = :queue FOR UPDATE OF j"""),
        {"id": job_id, "queue": queue},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else JobState(**row)


FAILED_PAGE = f"""
SELECT j.id, j.created_at, j.args -> 'address_id' AS address_id,
    r.status NOT IN ('cancelling', 'cancelled') AND NOT (j.queue = 'supplier-sync' AND (NOT s.is_active OR {OTHER_RUN}))
        AS allowed
FROM jobs j JOIN runs r ON r.id = j.run_id JOIN suppliers s ON s.id = j.supplier_id
WHERE j.queue = :queue AND j.state = 'failed' AND NOT j.direct
  AND (j.created_at, j.id) < (CAST(:after_at AS timestamptz), CAST(:after_id AS text) COLLATE "C")
ORDER BY j.created_at DESC, j.id DESC LIMIT :limit
"""


async def failed_page(db: AsyncConnection, queue: str, after: tuple[datetime, str], limit: int) -> FailedPage:
    """A page of a queue's failed jobs, the newest first; those that may not be retried are left out."""
    rows = (
        await db.execute(
            text(FAILED_PAGE), {"queue": queue, "after_at": after[0], "after_id": after[1], "limit": limit}
        )
    ).all()
    last = (rows[-1].created_at, rows[-1].id) if rows else None
    return FailedPage([FailedJob(row.id, row.address_id) for row in rows if row.allowed], last)


async def reopen(
    db: AsyncConnection, queue: str, ids: Sequence[str], after: Mapping[str, str] | None = None
) -> list[ReopenedJob]:
    """Make failed jobs wait again with all their attempts, and move their runs' counters back.

    `after` says which of them go after another job, which asks for their address, too. Those come last in the answer.

    Raises:
        RepeatTransaction: a run was cancelled meanwhile; look again which jobs may be retried.
    """
    if queue == "supplier-sync":
        await _hold_suppliers(db, ids)
    rows = await db.execute(
        text(f"""
        WITH failed AS (
            SELECT j.id FROM jobs j WHERE j.id = ANY(CAST(:ids AS text[])) AND j.queue = :queue AND j.state = 'failed'
              AND (j.queue <> 'supplier-sync' OR NOT {OTHER_RUN})
            ORDER BY j.id FOR UPDATE)
        UPDATE jobs j SET state = 'waiting', attempts = 0, deaths = 0, claim = NULL, error = NULL, progress = NULL,
            started_at = NULL, finished_at = NULL, run_at = clock_timestamp(), dispatched_at = clock_timestamp(),
            args = j.args - 'after' || jsonb_strip_nulls(jsonb_build_object('after', CAST(:after AS jsonb) -> j.id))
        FROM failed WHERE j.id = failed.id
        RETURNING j.id, j.queue, CAST(j.run_id AS text) AS run_id, j.args -> 'address_id' AS address_id,
            jsonb_exists(j.args, 'after') AS goes_after"""),
        {"ids": list(ids), "queue": queue, "after": to_json(after or {})},
    )
    found = sorted(rows.all(), key=lambda row: row.goes_after)
    asking = [row.address_id for row in found if row.address_id is not None and not row.goes_after]
    await _retry_addresses(db, asking)
    await _reopen_runs(db, queue, Counter(row.run_id for row in found))
    return [ReopenedJob(row.id, row.queue, row.run_id) for row in found]


async def _hold_suppliers(db: AsyncConnection, ids: Sequence[str]) -> None:
    """Hold the suppliers of these jobs, as the start of a run does, so that each has one sync at a time."""
    await db.execute(
        text("""
        SELECT 1 FROM suppliers WHERE id IN (SELECT supplier_id FROM jobs WHERE id = ANY(CAST(:ids AS text[])))
        ORDER BY id FOR NO KEY UPDATE"""),
        {"ids": list(ids)},
    )


async def _retry_addresses(db: AsyncConnection, ids: Sequence[int]) -> None:
    """A failed address is asked for again, its pauses forgotten."""
    if ids:
        await db.execute(
            text("""
            WITH failed AS (
                SELECT id FROM addresses WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'failed'
                ORDER BY id FOR NO KEY UPDATE)
            UPDATE addresses a SET state = 'pending', next_try_at = NULL FROM failed WHERE a.id = failed.id"""),
            {"ids": list(ids)},
        )


OVER = "r.finished_at IS NOT NULL"
REOPENED_COUNTERS = {
    "supplier-sync": f", fatal = r.fatal AND {OVER}, error = CASE WHEN {OVER} THEN r.error END",
    "product-family": ", families_failed = GREATEST(0, r.families_failed - m.number)",
    "image-upload": ", images_failed = GREATEST(0, r.images_failed - m.number)",
}


async def _reopen_runs(db: AsyncConnection, queue: str, numbers: Counter[str]) -> None:
    if not numbers:
        return
    statuses = await db.scalars(
        text(f"""
        WITH moved AS (
            SELECT r.id, u.number FROM runs r
            JOIN unnest(CAST(:ids AS uuid[]), CAST(:numbers AS int[])) AS u(id, number) ON u.id = r.id
            ORDER BY r.id FOR UPDATE OF r)
        UPDATE runs r SET open_jobs = r.open_jobs + m.number, jobs_forgotten = false{REOPENED_COUNTERS[queue]}
        FROM moved m WHERE r.id = m.id RETURNING r.status"""),
        {"ids": list(numbers), "numbers": list(numbers.values())},
    )
    if not {"cancelling", "cancelled"}.isdisjoint(statuses):
        raise RepeatTransaction


async def close_cancelled(db: AsyncConnection, job_id: str) -> None:
    """Cancel an open job that this transaction holds; its worker's next fence fails."""
    await db.execute(
        text(f"UPDATE jobs j SET {CANCELLED} WHERE j.id = :id"),
        {"id": job_id},
    )


async def delete_job(db: AsyncConnection, job_id: str) -> None:
    """Delete a job that this transaction holds; its run's counters stay."""
    await db.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": job_id})
