"""What the stages work with, opened once a process: the database, the queue, the way out, and the object store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.coordination.budget import OriginBudget
from app.images.inspect import PictureInspector
from app.images.opening import open_store
from app.images.store import ObjectStore
from app.jobs.queue import RedisQueue
from app.outbound.client import OutboundClient
from app.persistence.database import Database
from app.persistence.database_address import database_url
from app.redis_keys import RedisKeys
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one process. `queue` is None where Redis is not used: then only direct syncs are possible."""

    settings: Settings
    database: Database
    queue: RedisQueue | None
    outbound: OutboundClient
    store: ObjectStore
    inspector: PictureInspector


ANSWER_WITHIN_S = 8.0
"""How long a connection to the database is waited for where somebody waits for an answer, in seconds."""


@asynccontextmanager
async def open_services(
    settings: Settings, *, pre_ping: bool = False, wait_s: float = ANSWER_WITHIN_S, store_at_once: bool = False
) -> AsyncIterator[Services]:
    """Open everything that the settings name, and close it in the end. Nothing connects before its first use.

    `pre_ping` and `wait_s` are the database's (`Database`); `store_at_once` opens a bucket now, for who uses it all the
    time or shows its addresses.

    Raises:
        SettingsError: DATABASE_URL is missing, or makes no sense.
    """
    database = Database(
        database_url(settings),
        pool_size=settings.database_pool_size,
        transaction_pooler=settings.database_transaction_pooler,
        pre_ping=pre_ping,
        wait_s=wait_s,
    )
    queue = _queue(settings)
    budget = OriginBudget(
        None if queue is None else queue.redis,
        most_at_once=settings.origin_max_concurrency,
        most_a_second=settings.origin_max_rps,
        keys=RedisKeys(settings.redis_prefix),
    )
    inspector = PictureInspector(max_pixels=settings.picture_max_pixels)
    try:
        async with (
            OutboundClient(allow_private=settings.allow_private_addresses, gate=budget) as outbound,
            open_store(settings, at_once=store_at_once) as store,
        ):
            yield Services(settings, database, queue, outbound, store, inspector)
    finally:
        inspector.close()
        await budget.close()
        if queue is not None:
            await queue.close()
        await database.close()


def _queue(settings: Settings) -> RedisQueue | None:
    if settings.redis_url is None:
        return None
    return RedisQueue(settings.redis_url.get_secret_value(), prefix=settings.redis_prefix)
