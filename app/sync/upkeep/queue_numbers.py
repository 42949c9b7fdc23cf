"""Folding what moved in the queues into their totals, so that asking for their numbers stays cheap."""

from __future__ import annotations

from app.persistence import queue_numbers
from app.persistence.database import Database

FOLD_EVERY_S = 2.0


async def fold_queue_numbers(database: Database) -> None:
    """Fold everything that moved until now.

    Raises:
        DatabaseUnavailable: PostgreSQL is away; nothing is lost.
    """
    async with database.quick() as db:
        while await queue_numbers.any_moved(db) and await queue_numbers.fold_moves(db) == queue_numbers.MOST:
            pass
