"""What every worker does beside its jobs.

Progress, numbering the change feed, reconciling, ending abandoned runs; starting what a schedule asks for, telling the
shop, forgetting what is old. All of it is safe to do by any number of workers at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import uuid4

from structlog import get_logger

from app.errors import OutageError
from app.jobs.queue import RedisQueue
from app.outages import outages
from app.persistence import changes, runs
from app.persistence.database import Database
from app.sync.installation import keep
from app.sync.running.surroundings import Stage
from app.sync.running.tasks import together
from app.sync.services import Services
from app.sync.upkeep.reconcile import reconcile
from app.sync.upkeep.retention import FORGET_EVERY_S, forget_old
from app.sync.upkeep.schedules import LOOK_EVERY_S as SCHEDULES_EVERY_S
from app.sync.upkeep.schedules import run_schedules
from app.sync.upkeep.webhooks import deliver_webhooks

log = get_logger()

NUMBER_EVERY_S = 0.15
"""ENGINE.md 7 allows a lag of 200 ms."""
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
        await stage.services.database.transact(runs.end_abandoned)
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
        group.create_task(every(FORGET_EVERY_S, partial(forget_old, services)))
        group.create_task(number_changes(services.database))


async def number_changes(database: Database) -> None:
    """Number the change feed until cancelled."""
    await every(NUMBER_EVERY_S, partial(number_all, database))


async def number_all(database: Database) -> None:
    """Number the changes that are committed and have no number yet.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    async with database.quick() as db:
        if not await changes.any_unnumbered(db):
            return
    while await database.transact(changes.number_changes) == changes.NUMBERED_AT_ONCE:
        pass


async def every(pause_s: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` again and again, `pause_s` apart with some jitter; an outage is waited out, a bug is logged.

    A chore that fails does not take the worker's jobs down with it.
    """
    loop = f"{work} {uuid4()}"
    while True:
        await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311  spreads workers, no secret
        try:
            await work()
        except OutageError as error:
            outages.met(loop, error)
            await asyncio.sleep(1.0)
        except Exception:
            log.exception("a bug in a chore")
            await asyncio.sleep(1.0)
        else:
            outages.over(loop)
