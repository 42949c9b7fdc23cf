"""Documents that are not believed yet (ENGINE.md 3, "Suspects").

`suspect_hash` is set while a document's last reading is in doubt, for either reason: children are missing, or its bytes
are the old ones. The next reading, under whatever hash, confirms it (`reread`) if it lists every active variant again
that the doubted one listed: what is missing now was missing then. So nothing goes that was not missing twice, and a
document that changes daily is believed at its second reading. What the doubted one listed is in `listings` until the
next is stored: no body has to be kept beside the newest.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.documents.bodies import UNAPPLIED
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


class Emptied(msgspec.Struct, frozen=True):
    """A family whose document came without children and goes by its ANumber now."""

    document_id: int
    active: int
    """The family's active variants."""
    going: int
    """Those of them that no document lists."""


async def emptied_families(db: AsyncConnection, supplier_id: int) -> list[Emptied]:
    """The families whose only document left them without its children, unless this is its confirming reading."""
    rows = await db.execute(
        text(f"""
        SELECT d.id AS document_id, v.active, v.going FROM documents d
        JOIN products p ON p.supplier_id = d.supplier_id AND p.sku = d.sku AND p.status = 'active'
        CROSS JOIN LATERAL (
            SELECT count(*) AS active, count(*) FILTER (WHERE NOT EXISTS (
                SELECT FROM listings l JOIN speaking_documents s ON s.id = l.document_id
                WHERE l.supplier_id = v.supplier_id AND l.variant_sku = v.sku)) AS going
            FROM variants v WHERE v.product_id = p.id AND v.status = 'active' AND v.dropped_run_id IS NULL) v
        WHERE d.supplier_id = :supplier_id AND d.present AND d.former_family = d.sku AND d.family_sku <> d.sku
          AND NOT d.has_children AND {UNAPPLIED} AND NOT (d.reread AND d.suspect_hash IS NULL)
          AND NOT EXISTS (SELECT FROM documents o WHERE o.supplier_id = d.supplier_id AND o.family_sku = d.sku
                          AND o.present AND o.version IS NOT NULL)
        ORDER BY d.id"""),
        {"supplier_id": supplier_id},
    )
    return [Emptied(**row) for row in rows.mappings()]


async def return_to_family(db: AsyncConnection, ids: Sequence[int]) -> None:
    """See that these documents are again of the family that they left."""
    if not ids:
        return
    await db.execute(
        text("""
        UPDATE documents SET family_sku = former_family, former_family = NULL
        WHERE id = ANY(CAST(:ids AS bigint[]))"""),
        {"ids": list(ids)},
    )
