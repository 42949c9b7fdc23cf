"""How far running jobs are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger.rows import ClaimedJob, to_json
from app.persistence.statements import text
from app.persistence.states import OPEN_JOB


async def write_progress(db: AsyncConnection, steps: Sequence[tuple[ClaimedJob, str, int]]) -> None:
    """Write how far running jobs are; a percentage never goes back. A job that is just being committed is left out."""
    await db.execute(
        text("""
        WITH mine AS (
            SELECT j.id, r.step, r.percentage FROM (
                SELECT * FROM jsonb_to_recordset(CAST(:steps AS jsonb))
                    AS t(id text, claim uuid, step text, percentage int)
                ORDER BY id COLLATE "C") r
            CROSS JOIN LATERAL (
                SELECT id FROM jobs WHERE id = r.id AND claim = r.claim AND state = 'active'
                  AND COALESCE(CAST(progress ->> 'percentage' AS int), 0) < r.percentage
                FOR UPDATE SKIP LOCKED) j)
        UPDATE jobs j SET progress = jsonb_build_object('step', mine.step, 'percentage', mine.percentage)
        FROM mine WHERE j.id = mine.id AND j.id = ANY(ARRAY(SELECT id FROM mine))"""),
        {
            "steps": to_json(
                [
                    {"id": job.id, "claim": str(job.claim), "step": step, "percentage": percentage}
                    for job, step, percentage in steps
                ]
            )
        },
    )


async def runs_past_their_documents(db: AsyncConnection, run_ids: Collection[str]) -> set[str]:
    """Those of the runs whose supplier job is closed; holds open ones' rows, so their last commit comes after this."""
    if not run_ids:
        return set()
    still_open = await db.scalars(
        text(f"""
        SELECT CAST(r.id AS text) FROM runs r JOIN jobs j ON j.id = r.supplier_job_id
        WHERE r.id = ANY(CAST(:run_ids AS uuid[])) AND j.state IN {OPEN_JOB} ORDER BY j.id FOR SHARE OF j"""),
        {"run_ids": sorted(run_ids)},
    )
    return set(run_ids) - set(still_open)
