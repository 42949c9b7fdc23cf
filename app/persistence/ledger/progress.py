"""How far running jobs are."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger.rows import ClaimedJob, to_json


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
        FROM mine WHERE j.id = mine.id"""),
        {
            "steps": to_json(
                [
                    {"id": job.id, "claim": str(job.claim), "step": step, "percentage": percentage}
                    for job, step, percentage in steps
                ]
            )
        },
    )


async def supplier_job_is_over(db: AsyncConnection, run_id: str) -> bool:
    """Whether the run's supplier job is closed; holds its row, so its last commit is before or after this one."""
    state = await db.scalar(
        text("""
        SELECT j.state FROM jobs j JOIN runs r ON r.supplier_job_id = j.id
        WHERE r.id = CAST(:run_id AS uuid) FOR SHARE OF j"""),
        {"run_id": run_id},
    )
    return state in {"completed", "failed", "cancelled", None}
