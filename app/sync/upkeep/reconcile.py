"""The reconciler: Redis is told again of what the ledger holds open and Redis does not know.

    marker missing ─▶ Redis was emptied: send everything open at once, running jobs with a lease's wait
    queue paused   ─▶ what is active there under a lease that is over waits: nobody claims it meanwhile
    otherwise      ─▶ counts differ, or every 30 s: look at what was sent more than ten seconds ago, in pages

Any worker does it, for its own queue; two at once only waste a look. A running job is sent with the wait of a lease, so
that its holder's heartbeat puts the lease back first (ENGINE.md 1, "Dispatch").
"""

from __future__ import annotations

from collections.abc import Sequence

from structlog import get_logger

from app.jobs.messages import Message
from app.jobs.queue import RedisQueue
from app.persistence import dispatching
from app.persistence.database import Database
from app.persistence.dispatching import OpenJob
from app.sync.running.outcomes import end_cancelled
from app.sync.stage.context import Stage

log = get_logger()

PAGE = 1_000
SETTLED_S = 10.0
"""A message that was sent less long ago is given the time to arrive."""


async def reconcile(
    stage: Stage, queue: RedisQueue, name: str, *, lease_ms: int, whole: bool, quiet_s: float = SETTLED_S
) -> int:
    """Send what is missing in Redis, and return how many jobs that were.

    Args:
        stage: the surroundings.
        queue: Redis.
        name: whose jobs to look at.
        lease_ms: how long a running job's holder has to put its lease back.
        whole: look at every open job even if the counts agree.
        quiet_s: leave alone what was sent less long ago.

    Raises:
        QueueUnavailable, DatabaseUnavailable: a part is away; try again later.
    """
    database = stage.services.database
    emptied = await queue.set_marker(name)
    await _close_cancelled(stage)
    await _hand_back_dead(database, queue, name)
    if whole:
        await _report_drift(database)
    async with database.quick() as db:
        expected = await dispatching.count_open(db, name)
    if not (emptied or whole) and await queue.length(name) >= expected:
        return 0
    return await _send_missing(database, queue, name, lease_ms=lease_ms, quiet_s=0.0 if emptied else quiet_s)


async def _send_missing(database: Database, queue: RedisQueue, name: str, *, lease_ms: int, quiet_s: float) -> int:
    sent, after = 0, ""
    while True:
        async with database.quick() as db:
            page = await dispatching.open_jobs(db, name, after, PAGE, quiet_s)
        if not page:
            return sent
        missing = set(await queue.unknown(name, [job.id for job in page]))
        lost = [job for job in page if job.id in missing]
        if lost:
            await queue.send([_message(job, lease_ms) for job in lost])
            await _mark(database, lost)
        sent += len(lost)
        after = page[-1].id


async def _mark(database: Database, lost: Sequence[OpenJob]) -> None:
    async with database.quick() as db:
        await dispatching.mark_dispatched(db, [job.id for job in lost])


def _message(job: OpenJob, lease_ms: int) -> Message:
    if job.active:
        return Message(job.id, job.queue, job.run_id, lease_ms)
    return Message(job.id, job.queue, job.run_id, job.wait_ms or None)


async def _close_cancelled(stage: Stage) -> None:
    """Close jobs of runs that are being cancelled whose worker did not: it is dead, or was told in vain."""
    async with stage.services.database.quick() as db:
        left = await dispatching.left_of_cancelled(db)
    if left:
        await end_cancelled(stage, left)


async def _hand_back_dead(database: Database, queue: RedisQueue, name: str) -> None:
    async with database.quick() as db:
        active = await dispatching.active_though_paused(db, name)
    dead = await queue.overdue(name, active) if active else []
    if dead:
        async with database.quick() as db:
            await dispatching.hand_back_dead(db, name, dead)


async def _report_drift(database: Database) -> None:
    async with database.quick() as db:
        for run_id, says, counted in await dispatching.drifted_runs(db):
            log.error("a run's books do not balance", run=run_id, open_jobs=says, counted=counted)
