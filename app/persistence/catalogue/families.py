"""A product and its variants: locked to decide, written as decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalogue.diff import FamilyDiff, StoredProduct, StoredVariant, VariantDiff
from app.persistence.ledger import to_json


async def lock_product(db: AsyncConnection, supplier_id: int, sku: str) -> StoredProduct | None:
    """Read a product and hold its row."""
    row = (
        await db.execute(
            text("""
            SELECT id, status, content, content_digest, applied_version FROM products
            WHERE supplier_id = :supplier_id AND sku = :sku FOR NO KEY UPDATE"""),
            {"supplier_id": supplier_id, "sku": sku},
        )
    ).one_or_none()
    return (
        None if row is None else StoredProduct(row.id, row.status, row.content, row.content_digest, row.applied_version)
    )


async def lock_variants(
    db: AsyncConnection, supplier_id: int, skus: Sequence[str], product_id: int | None, run_id: str
) -> dict[str, StoredVariant]:
    """Read and hold the variants of these SKUs, and those of the product that are active, in the order of SKUs."""
    rows = await db.execute(
        text("""
        SELECT v.id, v.sku, p.sku AS product_sku, v.status, v.position, v.is_primary, v.content_digest,
            v.prices_digest, v.imprint_digest, v.pictures_digest,
            CASE WHEN v.owner_run_id = CAST(:run_id AS uuid) THEN v.owner_before ELSE p.sku END AS owner_before,
            v.dropped_run_id IS NOT NULL AS dropped
        FROM variants v JOIN products p ON p.id = v.product_id
        WHERE v.supplier_id = :supplier_id AND v.sku = ANY(CAST(:skus AS text[]))
           OR v.product_id = CAST(:product_id AS bigint) AND v.status = 'active'
        ORDER BY v.sku FOR NO KEY UPDATE OF v"""),
        {"supplier_id": supplier_id, "skus": list(skus), "product_id": product_id, "run_id": run_id},
    )
    return {row.sku: StoredVariant(**row._mapping) for row in rows}  # noqa: SLF001  the public way to a row's mapping


async def write_product(db: AsyncConnection, *, supplier_id: int, sku: str, diff: FamilyDiff, version: int) -> int:
    """Insert or update a product, and return its id."""
    return int(
        await db.scalar(
            text("""
            INSERT INTO products AS p (supplier_id, sku, status, content, content_digest, applied_version)
            VALUES (:supplier_id, :sku, 'active', CAST(:content AS jsonb), :digest, :version)
            ON CONFLICT (supplier_id, sku) DO UPDATE SET status = 'active', content = EXCLUDED.content,
                content_digest = EXCLUDED.content_digest, applied_version = EXCLUDED.applied_version,
                updated_at = CASE WHEN :differs THEN clock_timestamp() ELSE p.updated_at END
            RETURNING id"""),
            {
                "supplier_id": supplier_id,
                "sku": sku,
                "content": to_json(diff.family.content),
                "digest": diff.family.digest,
                "version": version,
                "differs": diff.shows_otherwise,
            },
        )
        or 0
    )


async def note_applied(db: AsyncConnection, product_id: int, *, version: int) -> None:
    """Note that a newer document said nothing new."""
    await db.execute(
        text("UPDATE products SET applied_version = :version WHERE id = :id"), {"id": product_id, "version": version}
    )


async def insert_variants(
    db: AsyncConnection, supplier_id: int, product_id: int, run_id: str, variants: Sequence[VariantDiff]
) -> dict[str, int]:
    """Insert new variants; returns SKU to id. One that another transaction inserted meanwhile is missing there."""
    if not variants:
        return {}
    rows = await db.execute(
        text("""
        INSERT INTO variants (supplier_id, sku, product_id, status, position, is_primary, content, content_digest,
            prices_digest, imprint_digest, pictures_digest, owner_run_id, owner_before)
        SELECT :supplier_id, r.sku, :product_id, 'active', r.position, r.is_primary, r.content,
            decode(r.content_digest, 'hex'), decode(r.prices_digest, 'hex'), decode(r.imprint_digest, 'hex'), '',
            CAST(:run_id AS uuid), ''
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(sku text, position int, is_primary boolean, content jsonb,
            content_digest text, prices_digest text, imprint_digest text)
        ORDER BY r.sku COLLATE "C"
        ON CONFLICT (supplier_id, sku) DO NOTHING RETURNING sku, id"""),
        {
            "supplier_id": supplier_id,
            "product_id": product_id,
            "run_id": run_id,
            "rows": to_json([_variant_row(variant) for variant in variants]),
        },
    )
    return {row.sku: row.id for row in rows}


async def update_variants(db: AsyncConnection, product_id: int, run_id: str, variants: Sequence[VariantDiff]) -> None:
    """Write changed variants, in the order of SKUs; remembers whose a variant was before this run took it over."""
    if not variants:
        return
    await db.execute(
        text("""
        UPDATE variants v SET product_id = :product_id, status = 'active', position = r.position,
            is_primary = r.is_primary, content = r.content, content_digest = decode(r.content_digest, 'hex'),
            prices_digest = decode(r.prices_digest, 'hex'), imprint_digest = decode(r.imprint_digest, 'hex'),
            owner_run_id = CASE WHEN v.product_id <> :product_id THEN CAST(:run_id AS uuid) ELSE v.owner_run_id END,
            owner_before = CASE WHEN v.product_id <> :product_id THEN r.owner_before ELSE v.owner_before END,
            dropped_run_id = NULL,
            updated_at = CASE WHEN r.same THEN v.updated_at ELSE clock_timestamp() END
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id bigint, sku text, position int, is_primary boolean,
            content jsonb, content_digest text, prices_digest text, imprint_digest text, owner_before text,
            same boolean)
        WHERE v.id = r.id"""),
        {
            "product_id": product_id,
            "run_id": run_id,
            "rows": to_json([_variant_row(variant) for variant in variants]),
        },
    )


def _variant_row(diff: VariantDiff) -> dict[str, Any]:
    variant, stored = diff.variant, diff.stored
    return {
        "id": None if stored is None else stored.id,
        "sku": variant.sku,
        "position": diff.position,
        "is_primary": variant.is_primary,
        "content": variant.content,
        "content_digest": variant.digests["content"].hex(),
        "prices_digest": variant.digests["prices"].hex(),
        "imprint_digest": variant.digests["imprint"].hex(),
        "owner_before": None if stored is None else stored.owner_before,
        "same": diff.kind == "unchanged",
    }
