"""The numbers of the queues: what moved, as triggers note it in each transaction, folded into totals.

    jobs made, moved, deleted ─▶ queue_moves (a few rows a statement, in its transaction) ─ fold ─▶ queue_totals

`job_lists.count_jobs` adds the two up in one snapshot.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.statements import text

MOST = 20_000
"""Moves that one statement folds."""

ANY_MOVED = "SELECT EXISTS (SELECT FROM queue_moves)"
FOLD = """
WITH gone AS (
    DELETE FROM queue_moves WHERE id = ANY(ARRAY(
        SELECT id FROM queue_moves ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)) RETURNING queue, state, jobs),
folded AS (
    INSERT INTO queue_totals AS t (queue, state, jobs, gained)
    SELECT queue, state, sum(jobs), sum(greatest(jobs, 0)) FROM gone GROUP BY queue, state ORDER BY queue, state
    ON CONFLICT (queue, state) DO UPDATE SET jobs = t.jobs + EXCLUDED.jobs, gained = t.gained + EXCLUDED.gained)
SELECT count(*) FROM gone
"""
"""`gained` is what came into a state, for `minutes.py`: deleting and retrying take nothing away from it."""


async def any_moved(db: AsyncConnection) -> bool:
    """Whether there is something to fold."""
    return bool(await db.scalar(text(ANY_MOVED)))


async def fold_moves(db: AsyncConnection) -> int:
    """Fold some moves into the totals; returns how many. Two at once take different ones, and wait for each other."""
    return int(await db.scalar(text(FOLD), {"most": MOST}) or 0)
