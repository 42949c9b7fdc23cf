"""Cancelling a run: its open jobs at once, its active ones at their next fence.

Of a run that is over, whose status stays, what was retried by hand: all of it at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.runs.books import book
from app.persistence.states import CANCELLED, OPEN_JOB, RUN_UNDER_WAY, WAITING_JOB


async def cancel(db: AsyncConnection, run_id: str) -> bool:
    """Cancel a run: its waiting and delayed jobs at once, its active ones at their next fence.

    False if it is over and nothing of it was retried since.

    First the jobs, in the order of ids, then the run's row, then the jobs once more: a stage that committed in between
    may have added some, and whoever commits after us reads `cancelling` from the row.
    """
    counts = await _cancel_open(db, run_id)
    row = (
        await db.execute(
            text(f"""
            UPDATE runs SET status = 'cancelling' WHERE id = CAST(:id AS uuid) AND status IN {RUN_UNDER_WAY}
            RETURNING status"""),
            {"id": run_id},
        )
    ).one_or_none()
    counts += await (close_open(db, run_id) if row is None else _cancel_open(db, run_id))
    if row is None and not counts:
        return False
    await book(db, run_id, cancelled_counts(counts), finished=counts.total())
    return True


async def _cancel_open(db: AsyncConnection, run_id: str) -> Counter[str]:
    rows = await db.scalars(
        text(f"""
        WITH open AS (
            SELECT id FROM jobs WHERE run_id = CAST(:id AS uuid) AND state IN {OPEN_JOB}
            ORDER BY id FOR UPDATE),
        told AS (
            UPDATE jobs j SET claim = NULL FROM open WHERE j.id = open.id AND j.state = 'active' RETURNING 1)
        UPDATE jobs j SET {CANCELLED}
        FROM open WHERE j.id = open.id AND j.state IN {WAITING_JOB} RETURNING j.queue"""),
        {"id": run_id},
    )
    return Counter(rows)


async def close_open(db: AsyncConnection, run_id: str) -> Counter[str]:
    """Cancel all open jobs of a run, also active ones, whose next fence fails; says how many of each queue."""
    rows = await db.scalars(
        text(f"""
        WITH open AS (
            SELECT id FROM jobs WHERE run_id = CAST(:id AS uuid) AND state IN {OPEN_JOB}
            ORDER BY id FOR UPDATE)
        UPDATE jobs j SET {CANCELLED}
        FROM open WHERE j.id = open.id RETURNING j.queue"""),
        {"id": run_id},
    )
    return Counter(rows)


def cancelled_counts(queues: Mapping[str, int]) -> Counter[str]:
    """The run's counters for so many cancelled jobs of each queue."""
    return Counter(families_cancelled=queues.get("product-family", 0), images_cancelled=queues.get("image-upload", 0))
