"""What runs wait for: jobs that are to be tried again, by run and queue. A few rows of an index, however many jobs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

RUN_WAITS = """
SELECT CAST(j.run_id AS text) AS run_id, j.queue, count(*) AS jobs, max(j.attempts) AS attempts,
    extract(epoch FROM min(j.run_at) - clock_timestamp())::float AS next_in_s,
    (array_agg(j.error ORDER BY j.run_at) FILTER (WHERE j.error IS NOT NULL))[1] AS error
FROM jobs j
WHERE j.queue = ANY(CAST(:queues AS text[])) AND j.state = 'delayed' AND NOT j.direct
  AND j.run_id = ANY(CAST(:runs AS uuid[]))
GROUP BY j.run_id, j.queue ORDER BY j.run_id, j.queue
"""
PAUSED = "SELECT name FROM queues WHERE paused ORDER BY name"


class RunWait(msgspec.Struct, frozen=True):
    """Jobs of one run and queue that wait for another try, or for a time."""

    run_id: str
    queue: str
    jobs: int
    attempts: int
    """The most that one of them has spent."""
    next_in_s: float
    """Seconds until the first of them is due; below zero when it is."""
    error: str | None
    """Why the last try of the first of them came to nothing, or what it waits for."""


async def run_waits(db: AsyncConnection, run_ids: Sequence[str], queues: Sequence[str]) -> list[RunWait]:
    """What these runs wait for in these queues."""
    rows = await db.execute(text(RUN_WAITS), {"runs": list(run_ids), "queues": list(queues)})
    return [RunWait(**row) for row in rows.mappings()]


async def paused_queues(db: AsyncConnection) -> list[str]:
    """The queues of which no job is started."""
    return list(await db.scalars(text(PAUSED)))
