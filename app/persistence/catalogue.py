"""Writing the catalogue: a family's product and variants, as one set of statements whatever the family's size.

Rows are locked and written in the order of their SKUs; every statement takes its rows as one JSON parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalogue.diff import FamilyDiff, StoredProduct, StoredVariant, VariantDiff
from app.persistence.ledger import to_json
from app.persistence.packing import pack_json, unpack_json


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


async def write_product(
    db: AsyncConnection, *, supplier_id: int, sku: str, diff: FamilyDiff, fingerprint: str, version: int
) -> int:
    """Insert or update a product, and return its id."""
    return int(
        await db.scalar(
            text("""
            INSERT INTO products AS p (supplier_id, sku, status, content, content_digest, fingerprint, applied_version)
            VALUES (:supplier_id, :sku, 'active', CAST(:content AS jsonb), :digest, :fingerprint, :version)
            ON CONFLICT (supplier_id, sku) DO UPDATE SET status = 'active', content = EXCLUDED.content,
                content_digest = EXCLUDED.content_digest, fingerprint = EXCLUDED.fingerprint,
                applied_version = EXCLUDED.applied_version, updated_at = clock_timestamp()
            RETURNING id"""),
            {
                "supplier_id": supplier_id,
                "sku": sku,
                "content": to_json(diff.family.content),
                "digest": diff.family.digest,
                "fingerprint": fingerprint,
                "version": version,
            },
        )
        or 0
    )


async def note_applied(db: AsyncConnection, product_id: int, *, version: int, fingerprint: str) -> None:
    """Note that a newer document said nothing new."""
    await db.execute(
        text("UPDATE products SET applied_version = :version, fingerprint = :fingerprint WHERE id = :id"),
        {"id": product_id, "version": version, "fingerprint": fingerprint},
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


async def write_parts(db: AsyncConnection, variants: Sequence[tuple[int, VariantDiff]], *, rewrite: bool) -> None:
    """Replace price schedules and imprint positions, as sets, where they differ, or all of them (`rewrite`)."""
    prices = [(key, item.variant.prices) for key, item in variants if rewrite or "prices" in item.parts]
    imprint = [(key, item.variant.imprint) for key, item in variants if rewrite or "imprint" in item.parts]
    await _write_prices(db, prices)
    await _write_imprint(db, imprint)


async def _write_prices(db: AsyncConnection, rows: Sequence[tuple[int, Any]]) -> None:
    if not rows:
        return
    await db.execute(
        text("""
        INSERT INTO prices (variant_id, tiers)
        SELECT r.id, r.value FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id bigint, value jsonb) ORDER BY r.id
        ON CONFLICT (variant_id) DO UPDATE SET tiers = EXCLUDED.tiers"""),
        {"rows": to_json([{"id": key, "value": value} for key, value in rows])},
    )


async def _write_imprint(db: AsyncConnection, rows: Sequence[tuple[int, Any]]) -> None:
    if not rows:
        return
    await db.execute(
        text("""
        INSERT INTO imprint_positions (variant_id, packed)
        SELECT r.id, r.packed FROM unnest(CAST(:ids AS bigint[]), CAST(:packed AS bytea[])) AS r(id, packed)
        ORDER BY r.id
        ON CONFLICT (variant_id) DO UPDATE SET packed = EXCLUDED.packed"""),
        {"ids": [key for key, _ in rows], "packed": [pack_json(value) for _, value in rows]},
    )


async def stored_parts(db: AsyncConnection, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Content, prices and imprint positions as stored, by variant id: what the change feed calls the old values."""
    if not ids:
        return {}
    rows = await db.execute(
        text("""
        SELECT v.id, v.content, p.tiers AS prices, i.packed FROM variants v
        LEFT JOIN prices p ON p.variant_id = v.id LEFT JOIN imprint_positions i ON i.variant_id = v.id
        WHERE v.id = ANY(CAST(:ids AS bigint[]))"""),
        {"ids": list(ids)},
    )
    return {
        row.id: {
            "content": row.content,
            "prices": row.prices,
            "imprint": None if row.packed is None else unpack_json(row.packed),
        }
        for row in rows
    }


async def mark_dropped(db: AsyncConnection, ids: Sequence[int], run_id: str) -> None:
    """Note variants that their family does not list any more; what becomes of them is decided by `take_dropped`."""
    if ids:
        await db.execute(
            text("UPDATE variants SET dropped_run_id = CAST(:run_id AS uuid) WHERE id = ANY(CAST(:ids AS bigint[]))"),
            {"ids": list(ids), "run_id": run_id},
        )


async def drop_families(db: AsyncConnection, supplier_id: int, run_id: str, skus: Sequence[str]) -> list[str]:
    """Discontinue active products, note their variants as dropped, and return the products' SKUs."""
    gone = await db.execute(
        text("""
        UPDATE products SET status = 'discontinued', updated_at = clock_timestamp()
        WHERE id IN (SELECT id FROM products WHERE supplier_id = :supplier_id AND status = 'active'
                     AND sku = ANY(CAST(:skus AS text[])) ORDER BY sku FOR NO KEY UPDATE) RETURNING id, sku"""),
        {"supplier_id": supplier_id, "skus": list(skus)},
    )
    products = gone.all()
    await db.execute(
        text("""
        UPDATE variants SET dropped_run_id = CAST(:run_id AS uuid)
        WHERE product_id = ANY(CAST(:ids AS bigint[])) AND status = 'active'"""),
        {"ids": [row.id for row in products], "run_id": run_id},
    )
    return sorted(row.sku for row in products)


async def take_dropped(db: AsyncConnection, supplier_id: int) -> list[tuple[str, str]]:
    """Discontinue the dropped variants that no document lists any more; returns their SKUs and families."""
    rows = await db.execute(
        text("""
        UPDATE variants v SET status = 'discontinued', dropped_run_id = NULL, updated_at = clock_timestamp()
        FROM products p WHERE p.id = v.product_id AND v.id IN (
            SELECT v.id FROM variants v
            WHERE v.supplier_id = :supplier_id AND v.dropped_run_id IS NOT NULL AND v.status = 'active'
              AND NOT EXISTS (SELECT FROM listings l JOIN speaking_documents d ON d.id = l.document_id
                              WHERE l.supplier_id = v.supplier_id AND l.variant_sku = v.sku)
            ORDER BY v.sku FOR NO KEY UPDATE)
        RETURNING v.sku, p.sku AS product_sku"""),
        {"supplier_id": supplier_id},
    )
    return sorted((row.sku, row.product_sku) for row in rows)


async def takers(db: AsyncConnection, supplier_id: int, but_not: str | None) -> list[tuple[str, int]]:
    """The families that take dropped variants over, since their documents list them: SKU and newest version.

    `but_not` is the family that has just been written, which would say the same again.
    """
    rows = await db.execute(
        text("""
        SELECT t.family_sku, max(d.version) AS version FROM (
            SELECT v.sku, min(d.family_sku) AS family_sku FROM variants v
            JOIN listings l ON l.supplier_id = v.supplier_id AND l.variant_sku = v.sku
            JOIN speaking_documents d ON d.id = l.document_id
            WHERE v.supplier_id = :supplier_id AND v.dropped_run_id IS NOT NULL AND v.status = 'active'
            GROUP BY v.sku) t
        JOIN documents d ON d.supplier_id = :supplier_id AND d.family_sku = t.family_sku AND d.present
        WHERE t.family_sku IS DISTINCT FROM CAST(:but_not AS text)
        GROUP BY t.family_sku ORDER BY t.family_sku"""),
        {"supplier_id": supplier_id, "but_not": but_not},
    )
    return [(row.family_sku, row.version) for row in rows]


async def touch_product(db: AsyncConnection, product_id: int) -> None:
    """Note that something of a product changed just now, for `updatedSince`."""
    await db.execute(text("UPDATE products SET updated_at = clock_timestamp() WHERE id = :id"), {"id": product_id})


async def families_without_documents(db: AsyncConnection, supplier_id: int) -> list[str]:
    """SKUs of active products whose documents the manifest names no more."""
    rows = await db.scalars(
        text("""
        SELECT p.sku FROM products p WHERE p.supplier_id = :supplier_id AND p.status = 'active' AND NOT EXISTS (
            SELECT FROM documents d WHERE d.supplier_id = p.supplier_id AND d.family_sku = p.sku AND d.present)
        ORDER BY p.sku"""),
        {"supplier_id": supplier_id},
    )
    return list(rows)


async def count_active_families(db: AsyncConnection, supplier_id: int) -> int:
    """How many active products the supplier has."""
    return int(
        await db.scalar(
            text("SELECT count(*) FROM products WHERE supplier_id = :supplier_id AND status = 'active'"),
            {"supplier_id": supplier_id},
        )
        or 0
    )
