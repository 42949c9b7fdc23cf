"""Reading the catalogue: pages of products, and one product with its variants, in a constant number of statements.

Lists go by (`sku`, supplier), which no change of a product moves, so a page never shows one twice or leaves one out.
Of a variant's pictures the shown generation is read (ENGINE.md 6), and only what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence import product_search
from app.persistence.statements import as_bytes, ask
from app.persistence.suppliers import meant


class ProductFilter(msgspec.Struct, frozen=True):
    """Which products are meant; None means any."""

    supplier: str | None = None
    """A supplier's code or `documentId`."""
    status: str | None = None
    category: str | None = None
    """This category and all that lie below it."""
    updated_since: datetime | None = None
    words: str | None = None
    """Words of names in any language, or the beginning of a SKU or an EAN."""


Sort = Literal["sku", "updatedAt"]


class ProductKey(msgspec.Struct, frozen=True):
    """What a page knows of a product before its content is read: enough to say whether anything of it changed."""

    id: int
    sku: str
    supplier_id: int
    supplier: str
    status: str
    updated_at: datetime
    version: int
    """Stands for the transaction that last changed what readers see of it, of its variants and of their pictures."""


class ListExtra(msgspec.Struct, frozen=True):
    """What a list shows of a product's variants."""

    variant_count: int
    key: str | None
    """The object key of the product's first picture."""


CONDITIONS = {
    "supplier": f"p.supplier_id = ({meant('supplier')})",
    "status": "p.status = :status",
    # the operators of text_pattern_ops, so that the index is used whatever the plan knows of the parameter
    "category": """(p.category = :category
        OR (p.category ~>=~ (:category || '/') AND p.category ~<~ (:category || '0')))""",
    "updated_since": "p.updated_at >= :updated_since",
}
KEYS = """p.id, p.sku, p.supplier_id, s.code AS supplier, p.status, p.updated_at,
    COALESCE(pv.version, 0) AS version"""
CONTENT = as_bytes("CAST(p.content AS text)")
PRODUCTS = "products p JOIN suppliers s ON s.id = p.supplier_id"
VERSIONED = f"{PRODUCTS} LEFT JOIN product_versions pv ON pv.product_id = p.id"
ORDERS: dict[Sort, str] = {"sku": "p.sku, p.supplier_id", "updatedAt": "p.updated_at, p.sku, p.supplier_id"}
AFTERS: dict[Sort, str] = {
    "sku": '(CAST(:after_sku AS text) COLLATE "C", :after_supplier)',
    "updatedAt": '(CAST(:after_time AS timestamptz), CAST(:after_sku AS text) COLLATE "C", :after_supplier)',
}


class After(msgspec.Struct, frozen=True):
    """The product that a page begins after; `updated_at` where it is sorted by that."""

    sku: str
    supplier_id: int
    updated_at: datetime | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """Its values in `AFTERS`."""
        moment = {} if self.updated_at is None else {"after_time": self.updated_at}
        return {"after_sku": self.sku, "after_supplier": self.supplier_id, **moment}


async def list_keys(
    db: AsyncConnection, wanted: ProductFilter, *, sort: Sort, after: After | None, limit: int
) -> list[ProductKey]:
    """A page of products, without their content."""
    common = wanted.words is not None and await product_search.are_common(db, wanted.words)
    statement, parameters = keys_statement(wanted, sort=sort, after=after, common=common)
    rows = await ask(db, f"{statement} LIMIT :limit", {**parameters, "limit": limit})
    return [ProductKey(*row) for row in rows]


def keys_statement(
    wanted: ProductFilter, *, sort: Sort = "sku", after: After | None = None, common: bool = False
) -> tuple[str, dict[str, object]]:
    """The statement of the products that a filter means, in order, with its parameters.

    `common` as in `product_search.condition_of`.
    """
    conditions, parameters = conditions_of(wanted, common=common)
    if after is not None:
        conditions.append(f"({ORDERS[sort]}) > {AFTERS[sort]}")
        parameters |= after.parameters
    where = " AND ".join(conditions)
    return f"SELECT {KEYS} FROM {VERSIONED} WHERE {where} ORDER BY {ORDERS[sort]}", parameters


async def contents_of(db: AsyncConnection, product_ids: Sequence[int]) -> dict[int, bytes]:
    """The stored JSON of each product."""
    rows = await ask(
        db,
        f"SELECT id, {CONTENT} AS content FROM products p WHERE id = ANY(CAST(:ids AS bigint[]))",
        {"ids": list(product_ids)},
    )
    return {row.id: row.content for row in rows}


def conditions_of(wanted: ProductFilter, *, common: bool = False) -> tuple[list[str], dict[str, object]]:
    """A filter as conditions on product p, with their parameters; `common` as in `product_search.condition_of`."""
    asked = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
    words = asked.pop("words", None)
    conditions = ["true", *(CONDITIONS[name] for name in asked)]
    if words is None:
        return conditions, asked
    found, parameters = product_search.condition_of(words, common=common)
    return [*conditions, found], {**asked, **parameters}


async def find_keys(db: AsyncConnection, sku: str, supplier: str | None) -> list[ProductKey]:
    """The products with this SKU, by supplier; `supplier` is a code or `documentId`, None means any."""
    condition, parameters = with_sku(sku, supplier)
    rows = await ask(db, f'SELECT {KEYS} FROM {VERSIONED} WHERE {condition} ORDER BY s.code COLLATE "C"', parameters)
    return [ProductKey(*row) for row in rows]


def with_sku(sku: str, supplier: str | None) -> tuple[str, dict[str, object]]:
    """The condition of the products with this SKU, and its parameters; `supplier` as in `find_keys`."""
    if supplier is None:
        return "p.sku = :sku", {"sku": sku}
    return f"p.sku = :sku AND {CONDITIONS['supplier']}", {"sku": sku, "supplier": supplier}


SHOWN = """s.variant_id = v.id
    AND s.generation = CASE WHEN v.shown_generation > 0 THEN v.shown_generation ELSE v.generation END"""
"""The pictures s that a variant v shows, where one variant is looked at: the primary key has them in order."""
STORED = "JOIN addresses a ON a.id = s.address_id AND a.state = 'stored' JOIN media m ON m.id = a.media_id"

LIST_EXTRAS = f"""
SELECT p.id, n.number, pic.key
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
    rows = await ask(db, LIST_EXTRAS, {"ids": list(product_ids)})
    return {row.id: ListExtra(row.number, row.key) for row in rows}


class CatalogueTotals(msgspec.Struct, frozen=True):
    """How much is in the catalogue: what is active, and the stored pictures."""

    suppliers: int
    families: int
    variants: int
    pictures: int


async def count_catalogue(db: AsyncConnection) -> CatalogueTotals:
    """Count what is active, and the stored pictures; by full scans, so not for every request."""
    (row,) = await ask(
        db,
        """
        SELECT (SELECT count(*) FROM suppliers WHERE is_active) AS suppliers,
            (SELECT count(*) FROM products WHERE status = 'active') AS families,
            (SELECT count(*) FROM variants WHERE status = 'active') AS variants,
            (SELECT count(*) FROM media) AS pictures""",
    )
    return CatalogueTotals(*row)
