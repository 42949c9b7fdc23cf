"""Documents that a manifest lacks, and the families that lose them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.documents.manifest import as_lines
from app.persistence.statements import text


class Lessened(msgspec.Struct, frozen=True):
    """A family that documents left, which spoke for it until then."""

    sku: str
    version: int
    """The newest among its documents, with those that left in this run: that of its other job in the run."""
    remaining: int
    judged: bool
    """Each that left was one variant, and the run read none of the others: the guard has judged what the family lacks.

    Where one of several children leaves, or the run read others, what is lacking is what those say: that is doubted.
    """


async def note_missing(
    db: AsyncConnection, supplier_id: int, run_id: str, names: Sequence[str], *, remove_after_runs: int
) -> list[Lessened]:
    """Count a manifest in which documents are missing; after so many in a row they are present no more.

    Returns the families that lost documents so and keep others. One that did not count is no loss.
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
            RETURNING id, present),
        lost AS (
            SELECT s.family_sku, bool_and(NOT s.has_children) AS alone
            FROM gone g JOIN speaking_documents s ON s.id = g.id WHERE NOT g.present GROUP BY s.family_sku)
        SELECT d.family_sku AS sku, max(d.version) AS version, count(*) - count(g.id) AS remaining,
            l.alone AND NOT EXISTS (
                SELECT FROM jobs j WHERE j.run_id = CAST(:run_id AS uuid) AND j.queue = 'product-family'
                  AND j.key = d.family_sku || '@' || max(d.version)) AS judged
        FROM lost l JOIN documents d ON d.supplier_id = :supplier_id AND d.family_sku = l.family_sku
        LEFT JOIN gone g ON g.id = d.id
        WHERE d.present AND d.version IS NOT NULL
        GROUP BY d.family_sku, l.alone HAVING count(*) > count(g.id) ORDER BY d.family_sku"""),
        {
            "supplier_id": supplier_id,
            "run_id": run_id,
            "names": as_lines(names),
            "remove_after": remove_after_runs,
        },
    )
    return [Lessened(**row) for row in rows.mappings()]


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


async def former_families(db: AsyncConnection, supplier_id: int) -> list[Lessened]:
    """The families that documents left for others, by what those say now; some may have none left."""
    rows = await db.execute(
        text("""
        SELECT f.sku, COALESCE(max(d.version), 0) AS version, count(d.id) AS remaining, false AS judged
        FROM (SELECT DISTINCT former_family AS sku FROM documents
              WHERE supplier_id = :supplier_id AND former_family IS NOT NULL) f
        LEFT JOIN documents d ON d.supplier_id = :supplier_id AND d.family_sku = f.sku AND d.present
            AND d.version IS NOT NULL
        GROUP BY f.sku ORDER BY f.sku"""),
        {"supplier_id": supplier_id},
    )
    return [Lessened(**row) for row in rows.mappings()]


async def forget_former_families(db: AsyncConnection, supplier_id: int) -> None:
    """What documents left behind is settled."""
    await db.execute(
        text("""
        UPDATE documents SET former_family = NULL WHERE supplier_id = :supplier_id AND former_family IS NOT NULL"""),
        {"supplier_id": supplier_id},
    )
