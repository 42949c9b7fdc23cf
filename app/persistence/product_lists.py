"""Reading the catalogue: pages of products, and one product with its variants, in a constant number of statements.

Lists go by (`sku`, supplier), which no change of a product moves, so a page never shows one twice or leaves one out.
Of a variant's pictures the shown generation is read (ENGINE.md 6), and only what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.packing import unpack_json

LAST_CHARACTER = "\U0010ffff"


class ProductRow(msgspec.Struct, frozen=True):
    """A product without its variants."""

    id: int
    sku: str
    supplier_id: int
    supplier: str
    status: str
    content: dict[str, Any]
    updated_at: datetime


class ProductFilter(msgspec.Struct, frozen=True):
    """Which products are meant; None means any."""

    supplier: str | None = None
    """A supplier's code or `documentId`."""
    status: str | None = None
    category: str | None = None
    """This category and all that lie below it."""
    updated_since: datetime | None = None
    words: str | None = None
    """Words of names in any language, or the beginning of a SKU."""


class VariantRow(msgspec.Struct, frozen=True):
    """A variant with its prices and imprint positions, as the API shows them."""

    id: int
    sku: str
    status: str
    is_primary: bool
    content: dict[str, Any]
    prices: list[dict[str, Any]] | None
    imprint_positions: list[dict[str, Any]] | None


class PictureRow(msgspec.Struct, frozen=True):
    """A picture that a variant shows."""

    variant_id: int
    role: str
    position: int
    key: str
    sha256: str
    width: int
    height: int
    content_type: str


class ListExtra(msgspec.Struct, frozen=True):
    """What a list shows of a product's variants."""

    variant_count: int
    key: str | None
    """The object key of the product's first picture."""


COLUMNS = "p.id, p.sku, p.supplier_id, s.code AS supplier, p.status, p.content, p.updated_at"
CONDITIONS = {
    "supplier": "p.supplier_id = (SELECT id FROM suppliers WHERE document_id = :supplier OR code = :supplier LIMIT 1)",
    "status": "p.status = :status",
    # the operators of text_pattern_ops, so that the index is used whatever the plan knows of the parameter
    "category": """(p.category = :category
        OR (p.category ~>=~ (:category || '/') AND p.category ~<~ (:category || '0')))""",
    "updated_since": "p.updated_at >= :updated_since",
    "words": """p.id IN (
        SELECT w.id FROM products w WHERE w.words @@ plainto_tsquery('simple', :words)
        UNION SELECT l.id FROM products l WHERE lower(l.sku) ~>=~ lower(CAST(:words AS text) COLLATE "C")
            AND lower(l.sku) ~<~ (lower(CAST(:words AS text) COLLATE "C") || :last_character)
        UNION SELECT v.product_id FROM variants v WHERE lower(v.sku) ~>=~ lower(CAST(:words AS text) COLLATE "C")
            AND lower(v.sku) ~<~ (lower(CAST(:words AS text) COLLATE "C") || :last_character))""",
}


async def list_products(
    db: AsyncConnection, wanted: ProductFilter, *, after: tuple[str, int] | None, limit: int
) -> list[ProductRow]:
    """A page of products by SKU, from after (`sku`, supplier's id)."""
    statement, parameters = products_statement(wanted, after=after, limit=limit)
    rows = await db.execute(text(statement), parameters)
    return [ProductRow(**row) for row in rows.mappings()]


def products_statement(
    wanted: ProductFilter, *, after: tuple[str, int] | None, limit: int
) -> tuple[str, dict[str, object]]:
    """The statement behind `list_products`, with its parameters."""
    asked = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
    conditions = ["true", *(CONDITIONS[name] for name in asked)]
    parameters: dict[str, object] = {"limit": limit, **asked}
    if "words" in asked:
        parameters["last_character"] = LAST_CHARACTER
    if after is not None:
        conditions.append('(p.sku, p.supplier_id) > (CAST(:after_sku AS text) COLLATE "C", :after_supplier)')
        parameters |= {"after_sku": after[0], "after_supplier": after[1]}
    return (
        f"""
        SELECT {COLUMNS} FROM products p JOIN suppliers s ON s.id = p.supplier_id
        WHERE {" AND ".join(conditions)} ORDER BY p.sku, p.supplier_id LIMIT :limit""",
        parameters,
    )


async def find_products(db: AsyncConnection, sku: str, supplier: str | None) -> list[ProductRow]:
    """The products with this SKU, by supplier; `supplier` is a code or `documentId`, None means any."""
    of_supplier = "" if supplier is None else f"AND {CONDITIONS['supplier']}"
    rows = await db.execute(
        text(f"""
        SELECT {COLUMNS} FROM products p JOIN suppliers s ON s.id = p.supplier_id
        WHERE p.sku = :sku {of_supplier} ORDER BY s.code"""),
        {"sku": sku} | ({} if supplier is None else {"supplier": supplier}),
    )
    return [ProductRow(**row) for row in rows.mappings()]


SHOWN = """s.variant_id = v.id
    AND s.generation = CASE WHEN v.shown_generation > 0 THEN v.shown_generation ELSE v.generation END"""
STORED = "JOIN addresses a ON a.id = s.address_id AND a.state = 'stored' JOIN media m ON m.id = a.media_id"

LIST_EXTRAS = f"""
SELECT p.id, n.number AS variant_count, pic.key
FROM unnest(CAST(:ids AS bigint[])) AS p(id)
CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM variants v WHERE v.product_id = p.id AND v.status = 'active') n
LEFT JOIN LATERAL (
    SELECT first.key FROM variants v CROSS JOIN LATERAL (
        SELECT m.key FROM shown_pictures s {STORED} WHERE {SHOWN} ORDER BY s.position LIMIT 1) first
    WHERE v.product_id = p.id AND (v.is_primary OR v.status = 'active')
    ORDER BY v.is_primary DESC, v.position LIMIT 1) pic ON true
"""


async def list_extras(db: AsyncConnection, product_ids: Sequence[int]) -> dict[int, ListExtra]:
    """How many active variants each product has, and its first picture: its primary variant's, else any's."""
    rows = await db.execute(text(LIST_EXTRAS), {"ids": list(product_ids)})
    return {row.id: ListExtra(row.variant_count, row.key) for row in rows}


async def variants_of(db: AsyncConnection, product_id: int) -> list[VariantRow]:
    """A product's variants in the feed's order, discontinued ones last."""
    rows = await db.execute(
        text("""
        SELECT v.id, v.sku, v.status, v.is_primary, v.content, p.tiers AS prices, i.packed
        FROM variants v LEFT JOIN prices p ON p.variant_id = v.id LEFT JOIN imprint_positions i ON i.variant_id = v.id
        WHERE v.product_id = :product_id ORDER BY v.status, v.position, v.sku"""),
        {"product_id": product_id},
    )
    return [_variant(row) for row in rows.mappings()]


def _variant(row: RowMapping) -> VariantRow:
    fields = dict(row)
    packed = fields.pop("packed")
    return VariantRow(**fields, imprint_positions=None if packed is None else unpack_json(packed))


async def pictures_of(db: AsyncConnection, product_id: int) -> list[PictureRow]:
    """The pictures that a product's variants show, in order."""
    rows = await db.execute(
        text(f"""
        SELECT s.variant_id, s.role, s.position, m.key, encode(m.sha256, 'hex') AS sha256, m.width, m.height,
            m.content_type
        FROM variants v JOIN shown_pictures s ON {SHOWN} {STORED}
        WHERE v.product_id = :product_id ORDER BY s.variant_id, s.position"""),
        {"product_id": product_id},
    )
    return [PictureRow(**row) for row in rows.mappings()]


class CatalogueTotals(msgspec.Struct, frozen=True):
    """How much is in the catalogue: what is active, and the stored pictures."""

    suppliers: int
    families: int
    variants: int
    pictures: int


async def count_catalogue(db: AsyncConnection) -> CatalogueTotals:
    """Count what is active, and the stored pictures; by full scans, so not for every request."""
    rows = await db.execute(
        text("""
        SELECT (SELECT count(*) FROM suppliers WHERE is_active) AS suppliers,
            (SELECT count(*) FROM products WHERE status = 'active') AS families,
            (SELECT count(*) FROM variants WHERE status = 'active') AS variants,
            (SELECT count(*) FROM media) AS pictures""")
    )
    return CatalogueTotals(**rows.mappings().one())
