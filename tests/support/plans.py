"""Plans that PostgreSQL seldom chooses, and may choose on any day."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def look_anew_for_each_row(db: AsyncConnection) -> None:
    """For the rest of the transaction a subquery in IN is run once for each row outside of it, if it can be."""
    for way in ("hashagg", "hashjoin", "material", "mergejoin", "sort"):
        await db.execute(text(f"SET LOCAL enable_{way} = off"))
