"""What runs that are followed wait for: another try of a job, a queue that is paused, a worker that is not there."""

from __future__ import annotations

from collections.abc import Sequence

from app.cli.telling import in_one_line, own_name
from app.errors import QueueUnavailable
from app.jobs.definitions import QUEUES, STAGE_OF
from app.persistence.run_waits import RunWait, paused_queues, run_waits
from app.sync.operating.workers import workers_now
from app.sync.services import Services
from app.views.masking import mask_base
from app.views.progress import duration
from app.views.runs import Run
from app.wording import counted

WAITS_SHOWN = 6


async def look_for_waits(services: Services, runs: Sequence[Run]) -> list[str]:
    """Lines that say what runs under way wait for; PostgreSQL and Redis are asked once each.

    Raises:
        DatabaseUnavailable: it is away.
    """
    queued = {run.id: run.supplier for run in runs if run.finished_at is None and run.mode == "queued"}
    if not queued:
        return []
    async with services.database.read() as db:
        waits, paused = await run_waits(db, list(queued), QUEUES), await paused_queues(db)
    lines = [
        f"{STAGE_OF[queue]} jobs are paused: `{own_name()} resume {STAGE_OF[queue]}` lets them go on"
        for queue in paused
    ]
    lines += await _without_workers(services)
    most = services.settings.job_max_attempts
    lines += [mask_base(services.settings, _line(queued[wait.run_id], wait, most)) for wait in waits]
    return lines[:WAITS_SHOWN]


async def _without_workers(services: Services) -> list[str]:
    try:
        alive = {worker.queue_name for worker in await workers_now(services)}
    except QueueUnavailable as error:
        return [f"waiting for Redis: {error}"]
    return [
        f"no worker lives for {STAGE_OF[queue]} jobs: `{own_name()} worker {STAGE_OF[queue]}` starts one"
        for queue in QUEUES
        if queue not in alive
    ]


def _line(supplier: str, wait: RunWait, most: int) -> str:
    due = f"in {duration(wait.next_in_s)}" if wait.next_in_s > 0 else "now"
    attempt = f", attempt {wait.attempts + 1} of {most}" if wait.attempts else ""
    why = "" if wait.error is None else f": {wait.error}"
    jobs = counted(wait.jobs, f"{STAGE_OF[wait.queue]} job waits", f"{STAGE_OF[wait.queue]} jobs wait")
    again = " for another try" if wait.attempts else ""
    return in_one_line(f"{supplier}: {jobs}{again}, next {due}{attempt}{why}")
