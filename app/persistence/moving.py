"""What moves right now: the jobs and runs that an event stream tells of. A few rows, however large the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.job_lists import LISTED, TIMES, JobRow
from app.persistence.run_lists import COLUMNS, RunRow
from app.persistence.statements import value
from app.persistence.states import RUN_UNDER_WAY

MOST_JOBS = 500
NEWEST_RUNS = 20

MOVING_JOBS = f"""
SELECT {LISTED}, {TIMES}, j.error, j.progress, j.result FROM jobs j WHERE NOT j.direct AND j.id IN (
    SELECT unnest(CAST(:ids AS text[]))
    UNION (SELECT f.id FROM jobs f WHERE f.id = ANY(CAST(:failed AS text[])) AND f.state <> 'failed' LIMIT :most)
    UNION SELECT r.supplier_job_id FROM runs r WHERE r.id = ANY(CAST(:run_ids AS uuid[]))
    UNION (SELECT a.id FROM unnest(CAST(:queues AS text[])) AS q(name) CROSS JOIN LATERAL (
        SELECT a.id FROM jobs a WHERE a.queue = q.name AND a.state = 'active' AND NOT a.direct LIMIT :most) a))
"""
MOVING_RUNS = f"""
SELECT {COLUMNS} FROM runs r JOIN suppliers s ON s.id = r.supplier_id WHERE r.id IN (
    SELECT CAST(unnest(CAST(:ids AS text[])) AS uuid)
    UNION SELECT u.id FROM runs u WHERE u.status IN {RUN_UNDER_WAY}
    UNION (SELECT n.id FROM runs n ORDER BY n.created_at DESC, n.id DESC LIMIT :newest))
"""


async def moving_runs(db: AsyncConnection, known: Sequence[str]) -> list[RunRow]:
    """The runs that are under way, the newest ones, and those that are `known` to have been under way."""
    rows = await db.execute(text(MOVING_RUNS), {"ids": list(known), "newest": NEWEST_RUNS})
    return [dict(row) for row in rows.mappings()]


async def moving_jobs(
    db: AsyncConnection, queues: Sequence[str], known: Sequence[str], failed: Sequence[str], run_ids: Sequence[str]
) -> list[JobRow]:
    """The active jobs of queues, the supplier jobs of runs, and those that are `known` to have been active.

    Also those that had `failed` and have not any more: some of them, where they are very many.
    """
    wanted = {"ids": list(known), "failed": list(failed), "run_ids": list(run_ids)}
    rows = await db.execute(text(MOVING_JOBS), {**wanted, "queues": list(queues), "most": MOST_JOBS})
    return [JobRow(**row) for row in rows.mappings()]


async def is_run_under_way(db: AsyncConnection) -> bool:
    """Whether any run is."""
    return bool(await value(db, f"SELECT EXISTS (SELECT FROM runs WHERE status IN {RUN_UNDER_WAY})"))
