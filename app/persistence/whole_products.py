"""One product, or one variant, whole by its SKU: what it is and its key in one statement, so both are of one moment.

    SKU ─▶ products with it, their content ─▶ their variants, some parts of them ─▶ a row a variant

A transaction for the same in several statements is five waits for PostgreSQL in place of one (docs/decisions/0036).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence import product_lists, variant_lists
from app.persistence.product_lists import ProductKey
from app.persistence.statements import ask
from app.persistence.variant_lists import VariantFilter, VariantKey
from app.persistence.whole_variants import IN_ORDER, PARTS, VariantPart, WholeVariant, columns_of

KEY_WIDTH, VARIANT_WIDTH = len(ProductKey.__struct_fields__), len(WholeVariant.__struct_fields__)
KEY_OF_P = ", ".join(f"p.{name}" for name in ProductKey.__struct_fields__)


class WholeProduct(msgspec.Struct, frozen=True):
    """A product with what was asked for."""

    key: ProductKey
    content: bytes | None
    """Its stored JSON."""
    variants: list[WholeVariant]


class Wanted(msgspec.Struct, frozen=True):
    """What is read of a product beside its key."""

    content: bool = True
    parts: Collection[VariantPart] | None = PARTS
    """Of its variants; None where these are not wanted."""


async def find_whole(db: AsyncConnection, sku: str, supplier: str | None, wanted: Wanted) -> list[WholeProduct]:
    """The products with this SKU; `supplier` is a code or `documentId`, None means any."""
    condition, parameters = product_lists.with_sku(sku, supplier)
    rows = await ask(db, whole_statement(condition, wanted), parameters)
    return [_whole(list(of_one)) for _, of_one in groupby(rows, key=lambda row: row[0])]


async def find_whole_variants(
    db: AsyncConnection, wanted: VariantFilter, *, limit: int
) -> list[tuple[VariantKey, WholeVariant]]:
    """Variants that a filter means, whole, by SKU."""
    statement, parameters = whole_variants_statement(wanted, limit=limit)
    rows = await ask(db, statement, parameters)
    width = len(VariantKey.__struct_fields__)
    return [(VariantKey(*row[:width]), WholeVariant(*row[width:])) for row in rows]


def whole_variants_statement(wanted: VariantFilter, *, limit: int) -> tuple[str, dict[str, object]]:
    """The statement behind `find_whole_variants`, with its parameters."""
    keys, parameters = variant_lists.keys_statement(wanted, after=None, limit=limit)
    columns, joins = columns_of(PARTS)
    statement = f"""
    WITH k AS MATERIALIZED ({keys}), v AS (SELECT v.* FROM k JOIN variants v ON v.id = k.id)
    SELECT k.*, {columns} FROM k JOIN v ON v.id = k.id {joins} ORDER BY k.sku, k.supplier_id"""
    return statement, parameters


def whole_statement(condition: str, wanted: Wanted) -> str:
    """The statement behind `find_whole`: a row a variant, the product's content in the first one alone."""
    content = product_lists.CONTENT if wanted.content else "CAST(NULL AS bytea)"
    columns, variants = ", ".join(["NULL"] * VARIANT_WIDTH), ""
    order = "p.id"
    if wanted.parts is not None:
        columns, joins = columns_of(wanted.parts)
        variants = f"LEFT JOIN v ON v.product_id = p.id {joins}"
        order = f"{order}, {IN_ORDER}"
    return f"""
    WITH p AS MATERIALIZED (
        SELECT {product_lists.KEYS}, {content} AS content FROM {product_lists.VERSIONED} WHERE {condition}),
    v AS (SELECT v.* FROM p JOIN variants v ON v.product_id = p.id)
    SELECT {KEY_OF_P},
        CASE WHEN row_number() OVER (PARTITION BY p.id ORDER BY {order}) = 1 THEN p.content END,
        {columns}
    FROM p {variants} ORDER BY {order}"""


def _whole(rows: Sequence[Any]) -> WholeProduct:
    variants = [WholeVariant(*found) for row in rows if (found := row[KEY_WIDTH + 1 :])[0] is not None]
    return WholeProduct(ProductKey(*rows[0][:KEY_WIDTH]), rows[0][KEY_WIDTH], variants)
