"""Documents that are not believed yet (ENGINE.md 3, "Suspects").

`suspect_hash` is set while a document's last reading is in doubt, for either reason: children are missing, or its bytes
are the old ones. The next reading, under whatever hash, confirms it (`reread`) if it lists every active variant again
that the doubted one listed: what is missing now was missing then. So nothing goes that was not missing twice, and a
document that changes daily is believed at its second reading. What the doubted one listed is in `listings` until the
next is stored: no body has to be kept beside the newest.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.statements import text


async def suspect(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Do not believe what these documents say until they were read once more, in the next run."""
    if not ids:
        return
    await db.execute(
        text("UPDATE documents SET suspect_hash = COALESCE(fetched_hash, '') WHERE id = ANY(CAST(:ids AS bigint[]))"),
        {"ids": list(ids)},
    )


async def doubt(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Leave it to the end of the run what these documents mean: what they lack may have moved to a later one."""
    if not ids:
        return
    await db.execute(
        text("UPDATE documents SET doubted = true WHERE id = ANY(CAST(:ids AS bigint[]))"), {"ids": list(ids)}
    )


async def take_doubted(db: AsyncConnection, supplier_id: int) -> list[tuple[str, int]]:
    """The families that were left to the end of the run: SKU and newest version, once."""
    rows = await db.execute(
        text("""
        UPDATE documents SET doubted = false WHERE supplier_id = :supplier_id AND doubted
        RETURNING family_sku, version"""),
        {"supplier_id": supplier_id},
    )
    newest: dict[str, int] = {}
    for row in rows:
        newest[row.family_sku] = max(row.version, newest.get(row.family_sku, 0))
    return sorted(newest.items())
