"""What every worker does beside its jobs.

Progress, numbering the change feed, reconciling, ending abandoned runs; starting what a schedule asks for, telling the
shop, forgetting what is old, folding the queues' numbers, writing down each minute. Any number of workers may do all of
it at once.
"""

from __future__ import annotations

from functools import partial

from structlog import get_logger

from app.jobs.queue import RedisQueue
from app.sync.installation import keep
from app.sync.running.abandoned import LOOK_EVERY_S as ABANDONED_EVERY_S
from app.sync.running.abandoned import AbandonedRuns
from app.sync.running.every import every
from app.sync.running.numbering import number_changes
from app.sync.services import Services
from app.sync.stage.context import Stage
from app.sync.stage.tasks import together
from app.sync.upkeep.minutes import LOOK_EVERY_S as MINUTES_EVERY_S
from app.sync.upkeep.minutes import write_minutes
from app.sync.upkeep.queue_numbers import FOLD_EVERY_S, fold_queue_numbers
from app.sync.upkeep.reconcile import reconcile
from app.sync.upkeep.retention import FORGET_EVERY_S, forget_old
from app.sync.upkeep.schedules import LOOK_EVERY_S as SCHEDULES_EVERY_S
from app.sync.upkeep.schedules import run_schedules
from app.sync.upkeep.webhooks import deliver_webhooks

log = get_logger()

RECONCILE_EVERY_S = 2.5
WHOLE_LOOK_EVERY = 12
"""Every so many rounds the reconciler looks at everything, even if the counts agree."""


async def do_chores(stage: Stage, queue: RedisQueue, name: str, *, lease_ms: int) -> None:
    """Do the chores of a worker of queue `name` until cancelled."""
    rounds = 0

    async def look() -> None:
        nonlocal rounds
        rounds += 1
        if queue.tenancy.foreign:
            return  # what was sent now would be the other installation's to throw away
        sent = await reconcile(stage, queue, name, lease_ms=lease_ms, whole=rounds % WHOLE_LOOK_EVERY == 0)
        ended = await stage.services.database.end_stalled()
        if ended:
            log.warning("ended sessions of processes that stand still in a transaction", sessions=ended)
        if sent:
            log.info("sent again what Redis did not know", queue=name, jobs=sent)

    async with together() as group:
        group.create_task(stage.progress.run())
        group.create_task(keep(stage.services.database, queue))
        group.create_task(every(SCHEDULES_EVERY_S, partial(run_schedules, stage.services)))
        group.create_task(every(RECONCILE_EVERY_S, look))
        group.create_task(do_chores_without_queue(stage.services))


async def do_chores_without_queue(services: Services) -> None:
    """Do, until cancelled, the chores that need no Redis; an API that runs without workers does them itself."""
    async with together() as group:
        group.create_task(deliver_webhooks(services))
        group.create_task(every(ABANDONED_EVERY_S, AbandonedRuns(services.database).look))
        group.create_task(every(FORGET_EVERY_S, partial(forget_old, services)))
        group.create_task(every(FOLD_EVERY_S, partial(fold_queue_numbers, services.database)))
        group.create_task(every(MINUTES_EVERY_S, partial(write_minutes, services.database)))
        group.create_task(number_changes(services.database))
