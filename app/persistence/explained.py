"""Why a product is as it is: its documents, the hashes that were seen and applied, and what is still pending."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

ExplainedDocument = Mapping[str, Any]
"""A document of a family and how far it was taken: `supplier` (its code) and the columns of DOCUMENT, by name."""


class PictureStates(msgspec.Struct, frozen=True):
    """How many of the addresses that a product's variants name are in each state, and why one failed."""

    pending: int
    failed: int
    error: str | None


DOCUMENT = """s.code COLLATE "C" AS supplier, d.file_name, d.url,
    d.present AND d.missing_since IS NULL AS present, d.seen_hash, d.fetched_hash,
    d.applied_hash, d.version, d.applied_version, d.suspect_hash IS NOT NULL AS suspect, d.failures, d.next_try_at,
    d.error"""
DOCUMENTS = f"""
SELECT {DOCUMENT} FROM suppliers s JOIN documents d ON d.supplier_id = s.id AND d.family_sku = :sku
UNION SELECT {DOCUMENT} FROM suppliers s JOIN documents d ON d.supplier_id = s.id AND d.file_name >= :sku || '.'
    AND d.file_name < :sku || '/' AND document_stem(d.file_name) = :sku
ORDER BY supplier, file_name
"""
"""A slash follows a dot, so all names that begin with the SKU and a dot are found in the index."""


async def documents_named(db: AsyncConnection, sku: str) -> list[ExplainedDocument]:
    """The documents of a family, or named like it: one that was never read has no family yet."""
    rows = await db.execute(text(DOCUMENTS), {"sku": sku})
    return [dict(row) for row in rows.mappings()]


async def picture_states(db: AsyncConnection, product_id: int) -> PictureStates:
    """The states of the addresses that a product's newest generations name."""
    row = (
        await db.execute(
            text("""
            SELECT count(DISTINCT a.id) FILTER (WHERE a.state = 'pending') AS pending,
                count(DISTINCT a.id) FILTER (WHERE a.state = 'failed') AS failed,
                max(a.error) FILTER (WHERE a.state = 'failed') AS error
            FROM variants v JOIN shown_pictures s ON s.variant_id = v.id AND s.generation = v.generation
            JOIN addresses a ON a.id = s.address_id WHERE v.product_id = :product_id AND v.status = 'active'"""),
            {"product_id": product_id},
        )
    ).one()
    return PictureStates(row.pending, row.failed, row.error)


async def last_run_of(db: AsyncConnection, supplier_code: str) -> dict[str, Any] | None:
    """Id, status, error and times of a supplier's newest run."""
    rows = await db.scalars(
        text("""
        SELECT jsonb_build_object('id', r.id, 'status', r.status, 'createdAt', r.created_at,
            'startedAt', r.started_at, 'finishedAt', r.finished_at, 'error', r.error)
        FROM runs r WHERE r.supplier_id = (SELECT id FROM suppliers WHERE code = :code)
        ORDER BY r.created_at DESC, r.id DESC LIMIT 1"""),
        {"code": supplier_code},
    )
    run: dict[str, Any] | None = rows.one_or_none()
    return run
