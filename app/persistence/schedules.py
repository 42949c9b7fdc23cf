"""Schedules in the database: who is due, who is paused because its feed keeps failing, who goes on.

Everything is timed by PostgreSQL's clock, and rows are taken with SKIP LOCKED, so that of many replicas one does it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class ScheduledSupplier(msgspec.Struct, frozen=True):
    """A supplier whose schedule this transaction decides about; its row is held."""

    id: int
    code: str
    schedule: str
    time_zone: str
    planned_at: datetime | None
    """When it was to run; None while its schedule is paused."""
    now: datetime
    """PostgreSQL's clock."""


COLUMNS = "s.id, s.code, s.schedule, s.time_zone, s.next_run_at AS planned_at, clock_timestamp() AS now"

DUE = f"""
SELECT {COLUMNS} FROM suppliers s
WHERE s.next_run_at <= clock_timestamp() AND s.is_active AND s.schedule IS NOT NULL AND s.schedule_paused_at IS NULL
ORDER BY s.next_run_at, s.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""


async def take_due(db: AsyncConnection) -> ScheduledSupplier | None:
    """The supplier that has been due the longest, held by this transaction; None when none is."""
    row = (await db.execute(text(DUE))).mappings().one_or_none()
    return None if row is None else ScheduledSupplier(**row)


async def plan(db: AsyncConnection, supplier_id: int, next_run_at: datetime) -> None:
    """Set when a supplier runs next; what it missed until now is not made up for more than once."""
    await db.execute(
        text("UPDATE suppliers SET next_run_at = :next_run_at WHERE id = :id"),
        {"id": supplier_id, "next_run_at": next_run_at},
    )


async def pause(db: AsyncConnection, supplier_id: int, reason: str) -> None:
    """Pause a schedule: nothing runs by it until it is set anew or a run by hand succeeds."""
    await db.execute(
        text("""
        UPDATE suppliers SET schedule_paused_at = clock_timestamp(), schedule_paused_reason = :reason,
            next_run_at = NULL WHERE id = :id"""),
        {"id": supplier_id, "reason": reason},
    )


LAST_GOOD = """(SELECT max(g.created_at) FROM runs g
    WHERE g.supplier_id = s.id AND g.status IN ('completed', 'completed_with_errors'))"""
FAILURES = f"""(SELECT count(*) FROM runs r WHERE r.supplier_id = s.id AND r.status = 'failed'
    AND r.created_at > COALESCE(GREATEST(s.schedule_resumed_at, {LAST_GOOD}), '-infinity'))"""


NOT_PAUSED = "s.next_run_at IS NOT NULL AND s.schedule IS NOT NULL AND s.schedule_paused_at IS NULL"
RECOVERED = """s.schedule_paused_at IS NOT NULL AND s.schedule IS NOT NULL AND EXISTS (
    SELECT FROM runs r WHERE r.supplier_id = s.id AND r.finished_at > s.schedule_paused_at
      AND r.status IN ('completed', 'completed_with_errors'))"""


async def any_to_pause_or_resume(db: AsyncConnection, most_failures: int) -> bool:
    """Whether the runs of any supplier say that its schedule is to be paused, or to go on; holds nothing."""
    return bool(
        await db.scalar(
            text(f"""
            SELECT EXISTS (SELECT FROM suppliers s WHERE {NOT_PAUSED} AND {FAILURES} >= :most)
                OR EXISTS (SELECT FROM suppliers s WHERE {RECOVERED})"""),
            {"most": most_failures},
        )
    )


async def pause_failing(db: AsyncConnection, most_failures: int) -> list[str]:
    """Pause the schedules of suppliers that failed so often in a row; returns their codes."""
    rows = await db.scalars(
        text(f"""
        WITH failing AS (
            SELECT s.id, {FAILURES} AS failures FROM suppliers s WHERE {NOT_PAUSED}
            FOR NO KEY UPDATE OF s SKIP LOCKED)
        UPDATE suppliers s SET schedule_paused_at = clock_timestamp(), next_run_at = NULL,
            schedule_paused_reason = 'the last ' || f.failures || ' runs failed'
        FROM failing f WHERE s.id = f.id AND f.failures >= :most RETURNING s.code"""),
        {"most": most_failures},
    )
    return sorted(rows)


async def take_recovered(db: AsyncConnection) -> list[ScheduledSupplier]:
    """Suppliers whose schedule is paused and that had a successful run since, held by this transaction."""
    rows = await db.execute(
        text(f"""
        SELECT {COLUMNS} FROM suppliers s WHERE {RECOVERED}
        ORDER BY s.id FOR NO KEY UPDATE SKIP LOCKED""")
    )
    return [ScheduledSupplier(**row) for row in rows.mappings()]


async def resume(db: AsyncConnection, supplier_id: int, next_run_at: datetime) -> None:
    """Let a paused schedule go on."""
    await db.execute(
        text("""
        UPDATE suppliers SET schedule_paused_at = NULL, schedule_paused_reason = NULL,
            schedule_resumed_at = clock_timestamp(), next_run_at = :next_run_at WHERE id = :id"""),
        {"id": supplier_id, "next_run_at": next_run_at},
    )
