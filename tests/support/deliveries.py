"""Webhooks of a stack: made, delivered to as a worker does, and looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from app.notify.signing import new_secret
from app.persistence import webhook_records
from app.sync.running.numbering import number_changes
from app.sync.upkeep.webhooks import deliver_webhooks
from tests.support.stack import Stack
from tests.support.waiting import eventually

SECRET = new_secret()
BOTH = ("run.finished", "catalogue.changed")


async def add_webhook(stack: Stack, url: str, events: tuple[str, ...] = BOTH) -> str:
    async def insert(db: Any) -> str:
        row = await webhook_records.insert_webhook(db, url=url, events=events, secret=SECRET, is_active=True)
        return row.id

    return await stack.services.database.transact(insert)


@asynccontextmanager
async def delivering(stack: Stack) -> AsyncIterator[None]:
    """What a worker does of it: numbering the changes, delivering."""
    tasks = [
        asyncio.create_task(deliver_webhooks(stack.services)),
        asyncio.create_task(number_changes(stack.services.database)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def deliveries(stack: Stack) -> list[dict[str, Any]]:
    return await stack.rows("SELECT * FROM deliveries ORDER BY number")


async def hurry(stack: Stack) -> None:
    """Let every pause be over."""
    async with stack.services.database.quick() as db:
        await db.exec_driver_sql("UPDATE deliveries SET next_attempt_at = now() - interval '1 s'")


async def until_numbered(stack: Stack) -> None:
    await eventually(lambda: stack.value("SELECT count(*) = 0 FROM changes WHERE seq IS NULL"))


async def settled(stack: Stack) -> None:
    await eventually(lambda: stack.value("SELECT count(*) = 0 FROM deliveries WHERE claim IS NOT NULL"))
