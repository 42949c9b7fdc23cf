"""Direct runs: the lease of the process that works them off, and what they come to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import DatabaseUnavailable
from app.persistence.database import RepeatTransaction
from app.persistence.runs.books import Move, _move, _write_end
from app.persistence.runs.cancelling import cancelled_counts, close_open
from app.persistence.statements import text
from app.persistence.states import OPEN_JOB, RUN_UNDER_WAY
from app.states import UNDER_WAY


async def renew_lease(db: AsyncConnection, run_id: str) -> None:
    """Say that the process that runs a direct sync is alive."""
    await db.execute(
        text("UPDATE runs SET lease_until = clock_timestamp() + interval '15 s' WHERE id = CAST(:id AS uuid)"),
        {"id": run_id},
    )


async def is_over(db: AsyncConnection, run_id: str) -> bool:
    """Whether the run has ended."""
    status = await db.scalar(text("SELECT status FROM runs WHERE id = CAST(:id AS uuid)"), {"id": run_id})
    return status not in UNDER_WAY


async def direct_totals(db: AsyncConnection, run_id: str) -> dict[str, Any]:
    """What a direct sync answers of a run that is over (API.md, "Sync"); `duration_s` as the run itself says it."""
    rows = await db.execute(
        text("""
        SELECT families_completed AS products_processed,
            documents_failed + families_failed + images_failed + CAST(fatal AS int) AS errors,
            COALESCE((SELECT CAST(j.result ->> 'familiesSkipped' AS int) FROM jobs j
                      WHERE j.id = runs.supplier_job_id), 0) AS skipped,
            CAST(EXTRACT(epoch FROM finished_at - started_at) AS double precision) AS duration_s,
            status NOT IN ('failed', 'cancelled') AS succeeded
        FROM runs WHERE id = CAST(:id AS uuid)"""),
        {"id": run_id},
    )
    return dict(rows.mappings().one())


class SilentRun(msgspec.Struct, frozen=True):
    """A direct run under way whose lease is over."""

    run_id: str
    lease_until: datetime
    now: datetime
    """PostgreSQL's clock, as this was read."""


async def silent_runs(db: AsyncConnection) -> list[SilentRun]:
    """The direct runs whose lease is over, by id: their process is gone, or could not write it down.

    Raises:
        DatabaseUnavailable: PostgreSQL is read-only, so that nobody can renew a lease either.
    """
    if await db.scalar(text("SELECT current_setting('transaction_read_only')")) == "on":
        raise DatabaseUnavailable("PostgreSQL is read-only")
    rows = await db.execute(
        text(f"""
        SELECT CAST(id AS text) AS run_id, lease_until, clock_timestamp() AS now FROM runs
        WHERE mode = 'direct' AND status IN {RUN_UNDER_WAY} AND lease_until < clock_timestamp() ORDER BY id""")
    )
    return [SilentRun(**row) for row in rows.mappings()]


ANY_OPEN = f"SELECT EXISTS (SELECT FROM jobs WHERE run_id = CAST(:id AS uuid) AND state IN {OPEN_JOB})"
GONE = "the process that ran this direct sync is gone"
STOPPED = "the process that ran this direct sync was stopped before its end: sync again"


async def end_abandoned(db: AsyncConnection, run: SilentRun) -> bool:
    """End a run whose process is gone as `failed`, its open jobs `cancelled`; False when another did meanwhile.

    The run's row is locked last, so only then is it seen whether.

    Raises:
        RepeatTransaction: its process turned out to live, or to have written jobs, after jobs were cancelled.
    """
    return await _end_unfinished(db, run.run_id, GONE, run.lease_until)


async def end_stopped(db: AsyncConnection, run_id: str) -> bool:
    """End a run that this process works off no longer, as `end_abandoned` does; False when it is over.

    Raises:
        RepeatTransaction: as with `end_abandoned`.
    """
    return await _end_unfinished(db, run_id, STOPPED, None)


async def _end_unfinished(db: AsyncConnection, run_id: str, why: str, lease_until: datetime | None) -> bool:
    counts = await close_open(db, run_id)
    held = await db.scalar(
        text("""
        UPDATE runs SET fatal = true, error = :why
        WHERE id = CAST(:id AS uuid) AND finished_at IS NULL
          AND lease_until = COALESCE(CAST(:lease_until AS timestamptz), lease_until) RETURNING 1"""),
        {"id": run_id, "why": why, "lease_until": lease_until},
    )
    if held is None:
        if counts:
            raise RepeatTransaction
        return False
    if await db.scalar(text(ANY_OPEN), {"id": run_id}):
        raise RepeatTransaction  # by a commit that was on its way: whoever adds jobs has had the run's row before us
    await _move(db, Move(run_id, cancelled_counts(counts), 0, counts.total()))
    await _write_end(db, run_id, "failed", why)
    return True
