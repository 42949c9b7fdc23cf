"""Writing down what each minute came to. Every process looks, whoever holds the head's row writes."""

from __future__ import annotations

from app.persistence import minutes
from app.persistence.database import Database

LOOK_EVERY_S = 5.0


async def write_minutes(database: Database) -> None:
    """Write the minute that has ended, if nobody has.

    Raises:
        DatabaseUnavailable: PostgreSQL is away; the next minute that is written has what this one lacks.
    """
    async with database.quick() as db:
        if not await minutes.is_minute_due(db):
            return
    await database.transact(minutes.write_minute)
