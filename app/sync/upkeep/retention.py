"""Forgetting what is old: changes, idempotency keys, deliveries, minutes, jobs, and runs with their problems.

Any worker does it, now and then, batch by batch, each in a transaction of its own; two at once skip each other's rows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from structlog import get_logger

from app.persistence import retention
from app.persistence.database import Connection, Database
from app.persistence.failures import StatementRefused
from app.settings import Settings
from app.sync.services import Services

log = get_logger()

FORGET_EVERY_S = 30.0
DAY_S = 86_400.0

Batch = Callable[[Connection], Awaitable[int]]


async def forget_old(services: Services) -> None:
    """Forget everything that is older than the settings keep it; one kind that fails does not keep the others.

    Raises:
        StatementRefused: a kind failed, which the log names; the first one's.
    """
    failed: list[StatementRefused] = []
    for name, batch in _batches(services.settings):
        try:
            forgotten = await _until_none(services.database, batch)
        except StatementRefused as error:
            log.warning("could not forget what is old", what=name, error=str(error))
            failed.append(error)
            continue
        if forgotten:
            log.info("forgot what was old", what=name, rows=forgotten)
    swept = await services.store.sweep()
    if swept:
        log.info("forgot what was old", what="unfinished pictures", files=swept)
    if failed:
        raise failed[0]


async def _until_none(database: Database, batch: Batch) -> int:
    forgotten = 0
    while rows := await database.transact(batch):
        forgotten += rows
    return forgotten


def _batches(settings: Settings) -> list[tuple[str, Batch]]:
    async def feed_start(db: Connection) -> int:
        return await retention.move_feed_start(db, settings.changes_retention_days * DAY_S)

    async def deliveries(db: Connection) -> int:
        return await retention.delete_deliveries(db, settings.job_retention_days * DAY_S)

    async def jobs(db: Connection) -> int:
        return await retention.delete_completed_jobs(db, settings.job_retention_days * DAY_S)

    async def runs(db: Connection) -> int:
        return await retention.delete_runs(db, settings.run_retention_days * DAY_S)

    return [
        ("the change feed's beginning", feed_start),
        ("changes", retention.delete_changes),
        ("idempotency keys", retention.delete_idempotency_keys),
        ("removed pictures", retention.delete_removals),
        ("minutes", retention.delete_minutes),
        ("deliveries", deliveries),
        ("completed jobs", jobs),
        ("runs", runs),
    ]
