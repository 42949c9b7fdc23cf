"""Which documents make a family, and which of several speaks for it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.documents.rows import FetchedDocument
from app.persistence.statements import ask, value

UNWRITTEN = "(d.applied_version, d.applied_hash) IS DISTINCT FROM (d.version, d.fetched_hash)"
"""Its family is to be written: from a new body, or without what another document said of it."""
OUTLIVED = "d.applied_version IS DISTINCT FROM d.version AND d.fetched_hash <> COALESCE(d.seen_hash, '')"
"""A body that was never applied, of a hash the manifest says no more: it counts only for that one (ENGINE.md 3)."""

SPEAKS = "(SELECT true FROM speaking_documents s WHERE s.id = d.id LIMIT 1) IS NOT NULL"
"""Looked up for each document: EXISTS would be answered from a hash of all documents there are."""
HEARD = f"(d.missing_since IS NULL OR {SPEAKS})"
"""The manifest names it, or lacks it and names no other that counts in its place."""


class OpenFamily(msgspec.Struct, frozen=True):
    """A family whose stored documents are newer than what was applied."""

    sku: str
    version: int


async def unapplied_families(
    db: AsyncConnection, supplier_id: int, *, after: str, limit: int, run_id: str
) -> list[OpenFamily]:
    """A page, by SKU, of the families with a document that is not applied yet and has no job in the run yet.

    A body of a hash that the manifest says no more makes no job; one that took an applied body's place holds its family
    back until it is fetched again, since what was applied of it is not stored any more. What the manifest lacks does
    neither where another one counts in its place.
    """
    rows = await ask(
        db,
        f"""
        SELECT family_sku AS sku, max(version) AS version FROM documents d
        WHERE supplier_id = :supplier_id AND present AND version IS NOT NULL AND family_sku > :after
        GROUP BY family_sku
        HAVING bool_or({UNWRITTEN} AND ({OUTLIVED}) IS NOT TRUE AND {HEARD})
           AND bool_or({OUTLIVED} AND applied_version IS NOT NULL AND {HEARD}) IS NOT TRUE
           AND NOT EXISTS (SELECT FROM jobs j WHERE j.run_id = CAST(:run_id AS uuid) AND j.queue = 'product-family'
                           AND j.key = d.family_sku || '@' || max(d.version))
        ORDER BY family_sku LIMIT :limit""",
        {"supplier_id": supplier_id, "after": after, "limit": limit, "run_id": run_id},
    )
    return [OpenFamily(row.sku, row.version) for row in rows]


async def of_these_speaking(db: AsyncConnection, fetched: Sequence[FetchedDocument]) -> list[FetchedDocument]:
    """Those that speak for their families now."""
    if not fetched:
        return []
    rows = await ask(
        db,
        f"SELECT d.id FROM unnest(CAST(:ids AS bigint[])) AS d(id) WHERE {SPEAKS}",
        {"ids": [document.id for document in fetched]},
    )
    speaking = {row.id for row in rows}
    return [document for document in fetched if document.id in speaking]


class SilentDocument(msgspec.Struct, frozen=True):
    """A document whose family SKU another one has too, which speaks for the family."""

    sku: str
    url: str
    speaker: str
    """The file name of the one that counts."""


async def silent_documents(db: AsyncConnection, supplier_id: int) -> list[SilentDocument]:
    """The named documents that do not count, by SKU and file name; of those without children, one variant's doubles."""
    rows = await ask(
        db,
        f"""
        SELECT d.family_sku AS sku, d.url, s.file_name AS speaker, d.file_name FROM documents d
        JOIN speaking_documents s ON s.supplier_id = d.supplier_id AND s.family_sku = d.family_sku
        WHERE d.supplier_id = :supplier_id AND {SILENT}
        UNION ALL
        SELECT sku, url, speaker, file_name FROM ({DOUBLES}) one WHERE file_name <> speaker
        ORDER BY sku, file_name""",
        {"supplier_id": supplier_id},
    )
    return [SilentDocument(row.sku, row.url, row.speaker) for row in rows]


async def pass_over_silent(db: AsyncConnection, supplier_id: int) -> None:
    """Note that there is nothing to apply of the named documents that do not count."""
    await ask(
        db,
        f"""
        UPDATE documents d SET applied_hash = d.fetched_hash, applied_version = d.version
        WHERE d.supplier_id = :supplier_id AND {UNWRITTEN} AND {SILENT}""",
        {"supplier_id": supplier_id},
    )


NAMED = "d.present AND d.version IS NOT NULL AND d.missing_since IS NULL"
"""What the manifest lacks is no error of a document that it names, nor is it one itself."""
DOUBLES = f"""
    SELECT d.sku, d.url, d.file_name, first_value(d.file_name) OVER (
        PARTITION BY d.family_sku, d.sku ORDER BY document_stem(d.file_name) = d.sku DESC, d.file_name) AS speaker
    FROM documents d
    WHERE d.supplier_id = :supplier_id AND {NAMED} AND (d.family_sku, d.sku) IN (
        SELECT d.family_sku, d.sku FROM documents d WHERE d.supplier_id = :supplier_id AND {NAMED}
        GROUP BY d.family_sku, d.sku HAVING count(*) > 1)
      AND NOT EXISTS (SELECT FROM documents o WHERE o.supplier_id = d.supplier_id AND o.family_sku = d.family_sku
        AND o.present AND o.version IS NOT NULL AND o.missing_since IS NULL AND o.has_children)"""
"""The documents without children that share a SKU, each with the one that speaks, as app/catalogue/grouping.py judges.

They are counted before they are put in order, since hardly a supplier has any: at 100,000 documents a tenth of a second
and not half of one.
"""

SILENT = f"""{NAMED} AND d.family_sku IN (
    SELECT family_sku FROM documents WHERE supplier_id = :supplier_id AND present AND version IS NOT NULL
    GROUP BY family_sku HAVING count(*) > 1 AND bool_or(has_children))
  AND NOT EXISTS (SELECT FROM speaking_documents s WHERE s.id = d.id)"""


async def other_listers(db: AsyncConnection, asked: Sequence[tuple[int, str, str]]) -> dict[tuple[int, str], list[str]]:
    """For those of these variants that documents of other families list too: those families' SKUs, sorted.

    `asked` are supplier, the variant's SKU, and the family whose documents do not count. No variant is in it twice.
    """
    rows = await ask(
        db,
        """
        SELECT r.supplier_id, r.sku, array_agg(DISTINCT d.family_sku) AS families
        FROM unnest(CAST(:suppliers AS int[]), CAST(:skus AS text[]), CAST(:families AS text[]))
            AS r(supplier_id, sku, family)
        CROSS JOIN LATERAL (
            SELECT document_id FROM listings WHERE supplier_id = r.supplier_id AND variant_sku = r.sku OFFSET 0) l
        CROSS JOIN LATERAL (
            SELECT family_sku FROM speaking_documents WHERE id = l.document_id AND family_sku <> r.family LIMIT 1) d
        GROUP BY r.supplier_id, r.sku""",
        {
            "suppliers": [supplier_id for supplier_id, _, _ in asked],
            "skus": [sku for _, sku, _ in asked],
            "families": [family for _, _, family in asked],
        },
    )
    return {(row.supplier_id, row.sku): sorted(row.families) for row in rows}


async def families_of(db: AsyncConnection, document_ids: Sequence[int]) -> dict[int, str]:
    """Whose these documents are, by their ids; without those that were never read."""
    rows = await ask(
        db,
        "SELECT id, family_sku FROM documents WHERE id = ANY(CAST(:ids AS bigint[])) AND family_sku IS NOT NULL",
        {"ids": list(document_ids)},
    )
    return {row.id: row.family_sku for row in rows}


async def count_families(db: AsyncConnection, supplier_id: int) -> int:
    """How many families the supplier's documents make."""
    return int(
        await value(
            db,
            """
            SELECT count(DISTINCT family_sku) FROM documents
            WHERE supplier_id = :supplier_id AND present AND version IS NOT NULL""",
            {"supplier_id": supplier_id},
        )
        or 0
    )


class StoredFamily(msgspec.Struct, frozen=True):
    """A family whose documents are stored."""

    sku: str
    version: int
    was_applied: bool
    """All of them are as they were applied: nothing that they say is still to be believed."""


async def stored_families(db: AsyncConnection, supplier_id: int, *, after: str, limit: int) -> list[StoredFamily]:
    """A page, by SKU, of the families whose documents are stored."""
    rows = await ask(
        db,
        """
        SELECT family_sku AS sku, max(version) AS version,
            bool_and(applied_version IS NOT DISTINCT FROM version) AS was_applied FROM documents
        WHERE supplier_id = :supplier_id AND present AND version IS NOT NULL AND family_sku > :after
        GROUP BY family_sku ORDER BY family_sku LIMIT :limit""",
        {"supplier_id": supplier_id, "after": after, "limit": limit},
    )
    return [StoredFamily(row.sku, row.version, row.was_applied) for row in rows]
