"""Queues that an operator paused."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def is_paused(db: AsyncConnection, queue: str) -> bool:
    """Whether an operator paused the queue."""
    return bool(await db.scalar(text("SELECT paused FROM queues WHERE name = :queue"), {"queue": queue}))


async def set_paused(db: AsyncConnection, queue: str, *, paused: bool) -> None:
    """Pause or resume a queue for all workers; it survives restarts."""
    await db.execute(text("UPDATE queues SET paused = :paused WHERE name = :queue"), {"queue": queue, "paused": paused})
