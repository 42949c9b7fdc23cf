"""Keeping the keys in Redis for this installation, and seeing that no other one uses them (jobs/tenancy.py).

start:    which database and schema? ─▶ hold the keys ─▶ another's? wait until it runs out, or is seen to live: an error
running:  every two seconds once more ─▶ another lives on them: an error in the log, nothing is taken or sent
"""

from __future__ import annotations

import asyncio
import math
import time

from structlog import get_logger

from app.errors import OutageError, SettingsError
from app.jobs.queue import RedisQueue
from app.jobs.tenancy import HOLD_EVERY_S, LIFE_MS
from app.outages import AGAIN_AFTER_S
from app.persistence.database import Database
from app.persistence.identity import database_identity, schema_identity
from app.sync.services import Services

log = get_logger()

LOOK_EVERY_S = 0.25
SEEN_WITHIN_S = HOLD_EVERY_S * 2
"""A living holder has renewed its word by then."""
LEARN_EVERY = 15
"""Rounds; the database may have become another one under its address, as after an upgrade by replication."""


async def learn(database: Database, queue: RedisQueue) -> None:
    """Ask which database and schema are ours.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    async with database.quick() as db:
        queue.tenancy.schema = await schema_identity(db)
        queue.tenancy.id = await database_identity(db)


async def take_hold(queue: RedisQueue, within_s: float = 2 * LIFE_MS / 1000) -> None:
    """Hold the keys; where another holds them, wait until that one is gone or is seen to live.

    Raises:
        SettingsError: it lives; names REDIS_PREFIX.
        QueueUnavailable: Redis is away.
    """
    for _ in range(max(1, round(within_s / LOOK_EVERY_S))):
        await queue.hold()
        if queue.tenancy.alive:
            raise SettingsError(queue.tenancy.conflict)
        if not queue.tenancy.foreign:
            return
        await asyncio.sleep(LOOK_EVERY_S)


async def ready_to_queue(services: Services, queue: RedisQueue) -> None:
    """See that what is queued now will be worked on by our own workers.

    Raises:
        QueueUnavailable: Redis is away, refuses writes, or is used by another installation.
        DatabaseUnavailable: PostgreSQL is away.
    """
    if queue.tenancy.id is None:
        await learn(services.database, queue)
    await queue.check()
    for _ in range(round(SEEN_WITHIN_S / LOOK_EVERY_S)):
        if not queue.tenancy.foreign:
            return
        await asyncio.sleep(LOOK_EVERY_S)
        await queue.check()


async def keep(database: Database, queue: RedisQueue) -> None:
    """Hold the keys until cancelled; says so when somebody must set something, and when that is done."""
    rounds, told_at = 0, -math.inf
    while True:
        wrong = await _hold_again(database, queue, learn_anew=rounds % LEARN_EVERY == LEARN_EVERY - 1)
        rounds += 1
        if wrong and time.monotonic() - told_at >= AGAIN_AFTER_S:
            log.error("Redis is not ours to use: nothing is taken from it or sent to it", error=wrong)
            told_at = time.monotonic()
        elif not wrong and told_at > 0 and not queue.tenancy.foreign:
            log.info("Redis is ours to use again")
            told_at = -math.inf
        await asyncio.sleep(HOLD_EVERY_S)


async def _hold_again(database: Database, queue: RedisQueue, *, learn_anew: bool) -> str | None:
    """One round; returns what must be set. What is away is told by those who wait for it."""
    try:
        if queue.tenancy.id is None or learn_anew:
            await learn(database, queue)
        await queue.try_once()
        await queue.hold()
    except SettingsError as error:
        return str(error)
    except OutageError as error:
        log.debug("the keys are not held while a part is away", error=str(error))
    return queue.tenancy.conflict if queue.tenancy.alive else None
