"""Numbering the change feed while work goes on (ENGINE.md 7)."""

from __future__ import annotations

from functools import partial

from app.persistence import changes
from app.persistence.database import Database
from app.sync.running.every import every

NUMBER_EVERY_S = 0.15
"""ENGINE.md 7 allows a lag of 200 ms."""


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
