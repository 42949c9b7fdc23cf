"""What is measured of the service as a whole, the same for whichever process asks: one statement each, no history.

Every age is an index look-up: the oldest job of a state, the first change without a number, a supplier's newest runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.statements import text

MOST_SUPPLIERS = 1_000
"""More are not shown, by code: each is some series. A profile has some dozens."""
SECONDS_SINCE = "COALESCE(GREATEST(0, CAST(EXTRACT(epoch FROM clock_timestamp() - {}) AS double precision)), 0)"


class OldestJob(msgspec.Struct, frozen=True):
    """How long ago the oldest job of a queue in one of the open states was made; 0 when there is none."""

    queue: str
    state: str
    age_s: float


class Backlog(msgspec.Struct, frozen=True):
    """What waits for others than the queues."""

    changes_lag_s: float
    """How long ago the oldest change was written that has no number; 0 when all have one."""
    changes_head: int
    deliveries_lag_s: float
    """For how long the delivery to an active webhook that is due the longest has been due; 0 when none is."""


class SupplierState(msgspec.Struct, frozen=True):
    """How it stands with the syncs of an active supplier."""

    code: str
    last_success_at: float | None
    """When its last run without a failure of its own ended, in seconds since 1970; None when there was none."""
    last_failed: bool
    """Whether the last run that ended, cancelled ones aside, is `failed`."""
    guarded: bool
    """Whether that one held removals back."""
    under_way_s: float
    """How long ago the run that is under way was asked for; 0 when none is."""


OLDEST_JOBS = f"""
SELECT q.name AS queue, s.state, {SECONDS_SINCE.format("j.created_at")} AS age_s
FROM unnest(CAST(:queues AS text[])) AS q(name) CROSS JOIN (VALUES ('waiting'), ('active'), ('delayed')) AS s(state)
LEFT JOIN LATERAL (
    SELECT created_at FROM jobs WHERE queue = q.name AND state = s.state AND NOT direct
    ORDER BY created_at, id LIMIT 1) j ON true
"""
BACKLOG = f"""
SELECT {SECONDS_SINCE.format("(SELECT at FROM changes WHERE seq IS NULL ORDER BY id LIMIT 1)")} AS changes_lag_s,
    (SELECT seq FROM change_head) AS changes_head,
    {
    SECONDS_SINCE.format('''(
        SELECT min(d.next_attempt_at) FROM webhooks w CROSS JOIN LATERAL (
            SELECT next_attempt_at FROM deliveries WHERE webhook_id = w.id AND state = 'pending'
            ORDER BY next_attempt_at LIMIT 1) d WHERE w.is_active)''')
} AS deliveries_lag_s
"""
SUPPLIERS = f"""
SELECT s.code, CAST(EXTRACT(epoch FROM good.finished_at) AS double precision) AS last_success_at,
    COALESCE(last.status = 'failed', false) AS last_failed, COALESCE(last.guarded, false) AS guarded,
    {SECONDS_SINCE.format("under_way.created_at")} AS under_way_s
FROM (SELECT id, code FROM suppliers WHERE is_active ORDER BY code COLLATE "C" LIMIT {MOST_SUPPLIERS}) s
LEFT JOIN LATERAL (
    SELECT status, guard IS NOT NULL AS guarded FROM runs
    WHERE supplier_id = s.id AND finished_at IS NOT NULL AND status <> 'cancelled'
    ORDER BY created_at DESC, id DESC LIMIT 1) last ON true
LEFT JOIN LATERAL (
    SELECT finished_at FROM runs WHERE supplier_id = s.id AND status IN ('completed', 'completed_with_errors')
    ORDER BY created_at DESC, id DESC LIMIT 1) good ON true
LEFT JOIN runs under_way ON under_way.supplier_id = s.id AND under_way.status IN ('queued', 'running', 'cancelling')
"""


async def oldest_jobs(db: AsyncConnection, queues: Sequence[str]) -> list[OldestJob]:
    """The age of the oldest job of each queue in each open state."""
    rows = await db.execute(text(OLDEST_JOBS), {"queues": list(queues)})
    return [OldestJob(**row) for row in rows.mappings()]


async def backlog(db: AsyncConnection) -> Backlog:
    """How far behind the change feed and the webhooks are."""
    return Backlog(**(await db.execute(text(BACKLOG))).mappings().one())


async def supplier_states(db: AsyncConnection) -> list[SupplierState]:
    """How it stands with each active supplier."""
    rows = await db.execute(text(SUPPLIERS))
    return [SupplierState(**row) for row in rows.mappings()]
