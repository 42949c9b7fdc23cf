"""One run of a supplier at a time: started, or the one that is under way."""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger import RunOptions, to_json
from app.persistence.statements import text
from app.persistence.states import OPEN_JOB, RUN_UNDER_WAY
from app.persistence.suppliers import MEANT, hold_supplier

RETRIED = f"""
SELECT j.id, j.run_id FROM jobs j JOIN runs e ON e.id = j.run_id
WHERE j.supplier_id = {{supplier}} AND j.queue = 'supplier-sync' AND j.state IN {OPEN_JOB}
  AND NOT j.direct AND e.finished_at IS NOT NULL LIMIT 1"""
"""The sync of an ended run that was retried by hand and is not over: it counts as under way."""
UNDER_WAY = f"""
SELECT s.code, COALESCE(j.run_id, r.id) AS run_id, COALESCE(j.id, r.supplier_job_id) AS job_id
FROM suppliers s LEFT JOIN runs r ON r.supplier_id = s.id AND r.status IN {RUN_UNDER_WAY}
LEFT JOIN LATERAL ({RETRIED.format(supplier="s.id")}) j ON true
WHERE s.is_active{{meant}} ORDER BY s.code"""

INSERT_RUN = f"""
INSERT INTO runs (id, supplier_id, mode, trigger, status, options, supplier_job_id, open_jobs, lease_until,
                  changes_since)
VALUES (CAST(:id AS uuid), :supplier_id, :mode, :trigger, 'queued', CAST(:options AS jsonb), :job_id, 1,
        CASE WHEN :mode = 'direct' THEN clock_timestamp() + interval '15 s' END, (SELECT seq FROM change_head))
ON CONFLICT (supplier_id) WHERE status IN {RUN_UNDER_WAY} DO NOTHING RETURNING 1"""
OTHER_RUN = f"SELECT id, supplier_job_id FROM runs WHERE supplier_id = :supplier_id AND status IN {RUN_UNDER_WAY}"


class RunStart(msgspec.Struct, frozen=True):
    """A run that was started, or the one that was already under way."""

    run_id: str
    job_id: str
    started: bool
    written_before: bool = False
    """It is this call's own, from a commit whose answer was lost."""


async def under_way(db: AsyncConnection, supplier: str | None) -> dict[str, RunStart] | None:
    """What is under way, by code: of the active supplier with this `documentId` or code, of all for None.

    None where any of them has nothing, or there are none: `start_run` then has to hold them one after the other.
    """
    meant = "" if supplier is None else f" AND s.id = ({MEANT})"
    rows = (await db.execute(text(UNDER_WAY.format(meant=meant)), {} if supplier is None else {"key": supplier})).all()
    if not rows or any(row.run_id is None for row in rows):
        return None
    return {row.code: RunStart(str(row.run_id), row.job_id, started=False) for row in rows}


async def start_run(
    db: AsyncConnection, *, run_id: str, supplier_id: int, job_id: str, mode: str, trigger: str, options: RunOptions
) -> RunStart:
    """Write a run, unless it is there already, or another of the supplier is under way: then return that one."""
    there = await _retried(db, supplier_id) or await _written_before(db, run_id)
    if there is not None:
        return there
    new = {
        "id": run_id,
        "supplier_id": supplier_id,
        "mode": mode,
        "trigger": trigger,
        "options": to_json(options),
        "job_id": job_id,
    }
    while not await db.scalar(text(INSERT_RUN), new):
        other = await db.execute(text(OTHER_RUN), {"supplier_id": supplier_id})
        found = other.one_or_none()
        if found is not None:
            return RunStart(str(found.id), found.supplier_job_id, started=False)
        # it ended between the two statements, so it is in the way no more
    return RunStart(run_id, job_id, started=True)


async def _retried(db: AsyncConnection, supplier_id: int) -> RunStart | None:
    """Hold the supplier, and look for the sync of an ended run."""
    await hold_supplier(db, supplier_id)
    rows = await db.execute(text(RETRIED.format(supplier=":id")), {"id": supplier_id})
    row = rows.one_or_none()
    return None if row is None else RunStart(str(row.run_id), row.id, started=False)


async def _written_before(db: AsyncConnection, run_id: str) -> RunStart | None:
    job_id = await db.scalar(text("SELECT supplier_job_id FROM runs WHERE id = CAST(:id AS uuid)"), {"id": run_id})
    return None if job_id is None else RunStart(run_id, job_id, started=True, written_before=True)


async def mark_running(db: AsyncConnection, run_id: str) -> None:
    """Note that the run's first job has begun."""
    await db.execute(
        text("""
        UPDATE runs SET status = 'running', started_at = clock_timestamp()
        WHERE id = CAST(:id AS uuid) AND status = 'queued'"""),
        {"id": run_id},
    )
