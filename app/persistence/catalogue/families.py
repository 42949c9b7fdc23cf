"""Products and their variants, of several families at a time: locked to decide, written as decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalogue.diff import FamilyDiff, StoredProduct, StoredVariant, VariantDiff
from app.persistence.ledger import to_json
from app.persistence.statements import ask

Named = tuple[int, str]
"""A supplier's id and a SKU: what a product, and a variant, is known by."""


class LockedVariant(msgspec.Struct, frozen=True):
    """A stored variant, whose row is held."""

    supplier_id: int
    product_id: int
    owner_run_id: UUID | None
    """The run that moved it last, if one did."""
    variant: StoredVariant
    """Its `owner_before` is whose it was before that run."""

    def in_run(self, run_id: str) -> StoredVariant:
        """The variant as a run sees it: whose it was before is another question in each."""
        moved_here = self.owner_run_id is not None and str(self.owner_run_id) == run_id
        if moved_here:
            return self.variant
        return msgspec.structs.replace(self.variant, owner_before=self.variant.product_sku)


class ProductRow(msgspec.Struct, frozen=True):
    """A product to be written."""

    supplier_id: int
    version: int
    diff: FamilyDiff


class VariantRow(msgspec.Struct, frozen=True):
    """A variant to be written, with the run that writes it and the product that it is of from now on."""

    supplier_id: int
    run_id: str
    product_id: int
    diff: VariantDiff


async def lock_products(db: AsyncConnection, products: Sequence[Named]) -> dict[Named, StoredProduct]:
    """Read products and hold their rows, by supplier and SKU; those that there are not are left out."""
    rows = await ask(
        db,
        """
        SELECT p.supplier_id, p.sku, p.id, p.status, p.content, p.content_digest, p.applied_version FROM (
            SELECT * FROM unnest(CAST(:suppliers AS int[]), CAST(:skus AS text[])) AS t(supplier_id, sku)
            ORDER BY supplier_id, sku COLLATE "C") r
        CROSS JOIN LATERAL (
            SELECT * FROM products WHERE supplier_id = r.supplier_id AND sku = r.sku FOR NO KEY UPDATE) p""",
        {"suppliers": [supplier_id for supplier_id, _ in products], "skus": [sku for _, sku in products]},
    )
    return {(row[0], row[1]): StoredProduct(*row[2:]) for row in rows}


async def lock_variants(
    db: AsyncConnection, variants: Sequence[Named], product_ids: Sequence[int]
) -> list[LockedVariant]:
    """Read and hold these variants, and the active ones of these products, in the order of suppliers and SKUs.

    The status is put so that no index has it: read for each product, the index of all active variants costs more.
    """
    rows = await ask(
        db,
        """
        SELECT v.supplier_id, v.product_id, v.owner_run_id, v.id, v.sku, p.sku, v.status, v.position, v.is_primary,
            v.content_digest, v.prices_digest, v.imprint_digest, v.pictures_digest, COALESCE(v.owner_before, ''),
            v.dropped_run_id IS NOT NULL
        FROM (
            SELECT n.* FROM unnest(CAST(:suppliers AS int[]), CAST(:skus AS text[])) AS r(supplier_id, sku)
            CROSS JOIN LATERAL (SELECT id, supplier_id, sku FROM variants
                                WHERE supplier_id = r.supplier_id AND sku = r.sku LIMIT 1) n
            UNION
            SELECT a.* FROM unnest(CAST(:products AS bigint[])) AS r(id)
            CROSS JOIN LATERAL (SELECT id, supplier_id, sku FROM variants
                                WHERE product_id = r.id AND status <> 'discontinued' OFFSET 0) a
            ORDER BY supplier_id, sku) found
        CROSS JOIN LATERAL (SELECT * FROM variants WHERE id = found.id FOR NO KEY UPDATE) v
        CROSS JOIN LATERAL (SELECT sku FROM products WHERE id = v.product_id LIMIT 1) p""",
        {
            "suppliers": [supplier_id for supplier_id, _ in variants],
            "skus": [sku for _, sku in variants],
            "products": list(product_ids),
        },
    )
    return [LockedVariant(row[0], row[1], row[2], StoredVariant(*row[3:])) for row in rows]


async def write_products(db: AsyncConnection, products: Sequence[ProductRow]) -> dict[Named, int]:
    """Insert or update products, each once, in the order of suppliers and SKUs; returns their ids."""
    if not products:
        return {}
    rows = await ask(
        db,
        """
        INSERT INTO products AS p (supplier_id, sku, status, content, content_digest, applied_version, updated_at)
        SELECT r.supplier_id, r.sku, 'active', r.content, decode(r.digest, 'hex'), r.version,
            CASE WHEN r.differs THEN clock_timestamp() ELSE '-infinity' END
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(supplier_id int, sku text, content jsonb, digest text,
            version bigint, differs boolean)
        ORDER BY r.supplier_id, r.sku COLLATE "C"
        ON CONFLICT (supplier_id, sku) DO UPDATE SET status = 'active', content = EXCLUDED.content,
            content_digest = EXCLUDED.content_digest, applied_version = EXCLUDED.applied_version,
            updated_at = GREATEST(p.updated_at, EXCLUDED.updated_at)
        RETURNING p.supplier_id, p.sku, p.id""",
        {"rows": to_json([_product_row(product) for product in products])},
    )
    return {(supplier_id, sku): key for supplier_id, sku, key in rows}


async def touched_in_run(db: AsyncConnection, products: Sequence[tuple[str, int]]) -> set[int]:
    """Which of these products, by run and id, show something else since their run began."""
    if not products:
        return set()
    rows = await ask(
        db,
        """
        SELECT p.id FROM unnest(CAST(:runs AS uuid[]), CAST(:ids AS bigint[])) AS t(run_id, id)
        JOIN runs r ON r.id = t.run_id JOIN products p ON p.id = t.id WHERE p.updated_at >= r.created_at""",
        {"runs": [run_id for run_id, _ in products], "ids": [key for _, key in products]},
    )
    return {row.id for row in rows}


async def note_applied(db: AsyncConnection, versions: Mapping[int, int]) -> None:
    """Note that newer documents said nothing new: product id to version."""
    if not versions:
        return
    await ask(
        db,
        """
        UPDATE products p SET applied_version = r.version
        FROM unnest(CAST(:ids AS bigint[]), CAST(:versions AS bigint[])) AS r(id, version) WHERE p.id = r.id""",
        {"ids": list(versions), "versions": list(versions.values())},
    )


async def insert_variants(db: AsyncConnection, variants: Sequence[VariantRow]) -> dict[Named, int]:
    """Insert new variants, whose first generation of pictures is begun, or shown where it is empty; returns their ids.

    One that another transaction inserted meanwhile is missing there.
    """
    if not variants:
        return {}
    rows = await ask(
        db,
        """
        INSERT INTO variants (supplier_id, sku, product_id, status, position, is_primary, content, content_digest,
            prices_digest, imprint_digest, pictures_digest, generation, shown_generation, owner_run_id, owner_before)
        SELECT r.supplier_id, r.sku, r.product_id, 'active', r.position, r.is_primary, r.content,
            decode(r.content_digest, 'hex'), decode(r.prices_digest, 'hex'), decode(r.imprint_digest, 'hex'),
            decode(r.pictures_digest, 'hex'), 1, r.shown, r.run_id, ''
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(supplier_id int, run_id uuid, product_id bigint, sku text,
            position int, is_primary boolean, content jsonb, content_digest text, prices_digest text,
            imprint_digest text, pictures_digest text, shown int)
        ORDER BY r.supplier_id, r.sku COLLATE "C"
        ON CONFLICT (supplier_id, sku) DO NOTHING RETURNING supplier_id, sku, id""",
        {"rows": to_json([_new_variant_row(row) for row in variants])},
    )
    return {(supplier_id, sku): key for supplier_id, sku, key in rows}


async def update_variants(db: AsyncConnection, variants: Sequence[VariantRow]) -> None:
    """Write changed variants, which are held; remembers whose a variant was before this run took it over.

    A product that one is taken from shows something else from now on.
    """
    if not variants:
        return
    await ask(
        db,
        """
        WITH r AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id bigint, run_id uuid,
                product_id bigint, position int, is_primary boolean, content jsonb, content_digest text,
                prices_digest text, imprint_digest text, owner_before text, same boolean)),
        left_behind AS (UPDATE products SET updated_at = clock_timestamp() WHERE id IN (
            SELECT p.id FROM products p WHERE p.id IN (
                SELECT v.product_id FROM r JOIN variants v ON v.id = r.id WHERE v.product_id <> r.product_id)
            ORDER BY p.supplier_id, p.sku FOR NO KEY UPDATE))
        UPDATE variants v SET product_id = r.product_id, status = 'active', position = r.position,
            is_primary = r.is_primary, content = r.content, content_digest = decode(r.content_digest, 'hex'),
            prices_digest = decode(r.prices_digest, 'hex'), imprint_digest = decode(r.imprint_digest, 'hex'),
            owner_run_id = CASE WHEN v.product_id <> r.product_id THEN r.run_id ELSE v.owner_run_id END,
            owner_before = CASE WHEN v.product_id <> r.product_id THEN r.owner_before ELSE v.owner_before END,
            dropped_run_id = NULL,
            updated_at = CASE WHEN r.same THEN v.updated_at ELSE clock_timestamp() END
        FROM r WHERE v.id = r.id""",
        {"rows": to_json([_changed_variant_row(row) for row in variants])},
    )


def _product_row(row: ProductRow) -> dict[str, Any]:
    family = row.diff.family
    return {
        "supplier_id": row.supplier_id,
        "sku": family.sku,
        "content": family.content,
        "digest": family.digest.hex(),
        "version": row.version,
        "differs": row.diff.shows_otherwise,
    }


def _new_variant_row(row: VariantRow) -> dict[str, Any]:
    variant = row.diff.variant
    return _variant_row(row) | {
        "supplier_id": row.supplier_id,
        "sku": variant.sku,
        "pictures_digest": variant.digests["pictures"].hex(),
        "shown": 0 if variant.pictures else 1,
    }


def _changed_variant_row(row: VariantRow) -> dict[str, Any]:
    stored = row.diff.stored
    assert stored is not None
    return _variant_row(row) | {
        "id": stored.id,
        "owner_before": stored.owner_before,
        "same": row.diff.kind == "unchanged",
    }


def _variant_row(row: VariantRow) -> dict[str, Any]:
    variant = row.diff.variant
    return {
        "run_id": row.run_id,
        "product_id": row.product_id,
        "position": row.diff.position,
        "is_primary": row.diff.is_primary,
        "content": variant.content,
        "content_digest": variant.digests["content"].hex(),
        "prices_digest": variant.digests["prices"].hex(),
        "imprint_digest": variant.digests["imprint"].hex(),
    }
