"""What the reconciler asks the ledger: which jobs are open, when each was last sent, and whether the books balance."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.statements import text
from app.persistence.states import OPEN_JOB, RUN_UNDER_WAY, WAITING_JOB


class OpenJob(msgspec.Struct, frozen=True):
    """A job that Redis should know of."""

    id: str
    queue: str
    run_id: str
    active: bool
    wait_ms: int


async def open_jobs(db: AsyncConnection, queue: str, after_id: str, limit: int, quiet_s: float) -> list[OpenJob]:
    """A page, by id, of the open jobs that were last sent more than `quiet_s` seconds ago."""
    rows = await db.execute(
        text(f"""
        SELECT id, queue, run_id, state = 'active' AS active,
            CAST(GREATEST(0, CEIL(EXTRACT(epoch FROM run_at - clock_timestamp()) * 1000)) AS bigint) AS wait_ms
        FROM jobs
        WHERE queue = :queue AND state IN {OPEN_JOB} AND id > :after_id AND NOT direct
          AND (dispatched_at IS NULL OR dispatched_at <= clock_timestamp() - make_interval(secs => :quiet_s))
        ORDER BY id LIMIT :limit"""),
        {"queue": queue, "after_id": after_id, "limit": limit, "quiet_s": quiet_s},
    )
    return [OpenJob(row.id, row.queue, str(row.run_id), row.active, row.wait_ms) for row in rows]


async def count_open(db: AsyncConnection, queue: str) -> int:
    """How many open jobs of a queue Redis should know of."""
    return int(
        await db.scalar(
            text(f"""
            SELECT count(*) FROM jobs
            WHERE queue = :queue AND state IN {OPEN_JOB} AND NOT direct"""),
            {"queue": queue},
        )
        or 0
    )


async def active_though_paused(db: AsyncConnection, queue: str) -> list[str]:
    """The active jobs of a queue that is paused; none of one that is not."""
    rows = await db.scalars(
        text("""
        SELECT j.id FROM queues q JOIN jobs j ON j.queue = q.name
        WHERE q.name = :queue AND q.paused AND j.state = 'active' AND NOT j.direct"""),
        {"queue": queue},
    )
    return list(rows)


async def hand_back_dead(db: AsyncConnection, queue: str, ids: Sequence[str]) -> None:
    """Let jobs of a paused queue whose worker lost its lease wait; the death counts, as it does for who claims one.

    The queue is held, so that it is not resumed, and none of them claimed, in the same moment.
    """
    await db.execute(
        text("""
        WITH held AS (SELECT name FROM queues WHERE name = :queue AND paused FOR SHARE),
        dead AS (
            SELECT j.id FROM jobs j JOIN held ON held.name = j.queue
            WHERE j.id = ANY(CAST(:ids AS text[])) AND j.state = 'active' ORDER BY j.id FOR UPDATE OF j)
        UPDATE jobs j SET state = 'waiting', claim = NULL, deaths = j.deaths + 1, run_at = clock_timestamp(),
            started_at = CASE WHEN j.attempts > 0 THEN j.started_at END
        FROM dead WHERE j.id = dead.id"""),
        {"queue": queue, "ids": list(ids)},
    )


async def left_of_cancelled(db: AsyncConnection) -> list[str]:
    """Active jobs of cancelled runs that nobody holds and that have not ended for ten seconds, of whatever queue.

    The queue's own workers may all be gone.
    """
    rows = await db.scalars(
        text(f"""
        SELECT j.id FROM runs r JOIN jobs j ON j.run_id = r.id
        WHERE r.status = 'cancelling' AND NOT j.direct
          AND (j.state IN {WAITING_JOB}
               OR j.state = 'active' AND j.claim IS NULL AND j.started_at < clock_timestamp() - interval '10 s')
        ORDER BY j.id LIMIT 1000""")
    )
    return list(rows)


async def mark_dispatched(db: AsyncConnection, ids: Sequence[str]) -> None:
    """Note that messages were sent just now."""
    await db.execute(
        text("UPDATE jobs SET dispatched_at = clock_timestamp() WHERE id = ANY(CAST(:ids AS text[]))"),
        {"ids": list(ids)},
    )


async def drifted_runs(db: AsyncConnection) -> list[tuple[str, int, int]]:
    """Runs under way whose `open_jobs` is not the number of their open jobs: id, what it says, what there are."""
    rows = await db.execute(
        text(f"""
        SELECT r.id, r.open_jobs, count(j.id) AS counted FROM runs r
        LEFT JOIN jobs j ON j.run_id = r.id AND j.state IN {OPEN_JOB}
        WHERE r.status IN {RUN_UNDER_WAY} GROUP BY r.id HAVING r.open_jobs <> count(j.id)""")
    )
    return [(str(row.id), row.open_jobs, row.counted) for row in rows]
