"""Documents that a manifest lacks, and the families that lose them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.documents.manifest import as_lines
from app.persistence.statements import text


async def note_missing(
    db: AsyncConnection, supplier_id: int, names: Sequence[str], *, remove_after_runs: int
) -> list[tuple[str, int, int]]:
    """Count a manifest in which documents are missing; after so many in a row they are present no more.

    Returns families that lost some of their documents and keep others: SKU, newest version, documents left.
    """
    rows = await db.execute(
        text("""
        WITH gone AS (
            UPDATE documents SET missing_runs = missing_runs + 1, present = missing_runs + 1 < :remove_after
            WHERE id IN (
                SELECT d.id FROM documents d LEFT JOIN unnest(string_to_array(:names, chr(10))) AS u(file_name)
                    ON u.file_name = d.file_name COLLATE "C"
                WHERE d.supplier_id = :supplier_id AND d.present AND u.file_name IS NULL ORDER BY d.id
                FOR NO KEY UPDATE OF d)
            RETURNING id, family_sku, present)
        SELECT d.family_sku, max(d.version) AS version, count(*) AS remaining FROM documents d
        WHERE d.supplier_id = :supplier_id AND d.present AND d.version IS NOT NULL
          AND d.id NOT IN (SELECT id FROM gone)
          AND d.family_sku IN (SELECT family_sku FROM gone WHERE NOT present)
        GROUP BY d.family_sku ORDER BY d.family_sku"""),
        {"supplier_id": supplier_id, "names": as_lines(names), "remove_after": remove_after_runs},
    )
    return [(row.family_sku, row.version, row.remaining) for row in rows]


async def note_unwritten(db: AsyncConnection, supplier_id: int, families: Sequence[str]) -> None:
    """Note that these families are to be written anew from what they have left: until one is, each sync takes it up."""
    await db.execute(
        text("""
        UPDATE documents SET applied_hash = NULL WHERE id IN (
            SELECT d.id FROM documents d
            WHERE d.supplier_id = :supplier_id AND d.family_sku = ANY(CAST(:families AS text[]))
              AND EXISTS (SELECT FROM speaking_documents s WHERE s.id = d.id)
            ORDER BY d.id FOR NO KEY UPDATE)"""),
        {"supplier_id": supplier_id, "families": list(families)},
    )


async def count_families_missing(db: AsyncConnection, supplier_id: int, names: Sequence[str]) -> int:
    """How many active products would go if every document that these names lack went."""
    return int(
        await db.scalar(
            text("""
            SELECT count(*) FROM products p WHERE p.supplier_id = :supplier_id AND p.status = 'active' AND NOT EXISTS (
                SELECT FROM documents d JOIN unnest(string_to_array(:names, chr(10))) AS u(file_name)
                    ON u.file_name = d.file_name COLLATE "C"
                WHERE d.supplier_id = :supplier_id AND d.family_sku = p.sku AND d.present)"""),
            {"supplier_id": supplier_id, "names": as_lines(names)},
        )
        or 0
    )


async def former_families(db: AsyncConnection, supplier_id: int) -> list[tuple[str, int, int]]:
    """The families that documents left for others: SKU, newest version of what is left, and how many that is."""
    rows = await db.execute(
        text("""
        SELECT f.sku, COALESCE(max(d.version), 0) AS version, count(d.id) AS remaining
        FROM (SELECT DISTINCT former_family AS sku FROM documents
              WHERE supplier_id = :supplier_id AND former_family IS NOT NULL) f
        LEFT JOIN documents d ON d.supplier_id = :supplier_id AND d.family_sku = f.sku AND d.present
            AND d.version IS NOT NULL
        GROUP BY f.sku ORDER BY f.sku"""),
        {"supplier_id": supplier_id},
    )
    return [(row.sku, row.version, row.remaining) for row in rows]


async def forget_former_families(db: AsyncConnection, supplier_id: int) -> None:
    """What documents left behind is settled."""
    await db.execute(
        text("""
        UPDATE documents SET former_family = NULL WHERE supplier_id = :supplier_id AND former_family IS NOT NULL"""),
        {"supplier_id": supplier_id},
    )
