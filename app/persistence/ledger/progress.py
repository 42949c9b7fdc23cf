"""How far running jobs are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger.rows import ClaimedJob, to_json
from app.persistence.statements import ask
from app.persistence.states import OPEN_JOB


async def write_progress(db: AsyncConnection, steps: Sequence[tuple[ClaimedJob, str, int]]) -> None:
    """Write how far running jobs are; a percentage never goes back. A job that is just being committed is left out."""
    await ask(
        db,
        """
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
        FROM mine WHERE j.id = mine.id AND j.id = ANY(ARRAY(SELECT id FROM mine))""",
        {
            "steps": to_json(
                [
                    {"id": job.id, "claim": str(job.claim), "step": step, "percentage": percentage}
                    for job, step, percentage in steps
                ]
            )
        },
    )


class PastDocuments(msgspec.Struct, frozen=True):
    """How far runs are with their documents."""

    over: frozenset[str]
    """No more of them comes: the supplier job is closed."""
    seen: frozenset[str]
    """All of them came: it did not fail and was not cancelled."""


async def runs_past_their_documents(db: AsyncConnection, run_ids: Collection[str]) -> PastDocuments:
    """Which of the runs are past their documents; holds the other supplier jobs, so what they commit comes after this.

    A supplier job that is not in the ledger any more was completed long ago.
    """
    if not run_ids:
        return PastDocuments(frozenset(), frozenset())
    rows = await ask(
        db,
        f"""
        SELECT CAST(r.id AS text) AS run_id, j.state IN {OPEN_JOB} AS is_open
        FROM runs r JOIN jobs j ON j.id = r.supplier_job_id
        WHERE r.id = ANY(CAST(:run_ids AS uuid[])) AND j.state <> 'completed' ORDER BY j.id FOR SHARE OF j""",
        {"run_ids": sorted(run_ids)},
    )
    unfinished = {row.run_id: row.is_open for row in rows}
    still_open = {run_id for run_id, is_open in unfinished.items() if is_open}
    return PastDocuments(frozenset(set(run_ids) - still_open), frozenset(set(run_ids) - unfinished.keys()))
