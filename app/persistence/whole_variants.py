"""Variants with all that belongs to them, as JSON that is stored or put together by PostgreSQL, not parsed here.

It comes as bytes: as text it would be decoded, only to be encoded again for whoever asked.

Of a product of three variants, 130 to 220 KB, nearly everything is imprint positions (docs/decisions/0021): they stay
packed until somebody wants them. Only the parts that are asked for are read, in one statement for any number.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.product_lists import STORED
from app.persistence.statements import as_bytes, ask

VariantPart = Literal["content", "prices", "imprintPositions", "images"]
PARTS: frozenset[VariantPart] = frozenset({"content", "prices", "imprintPositions", "images"})
IMAGE = """'{"role":"' || s.role || '","position":' || s.position || ',"url":"' || m.key
    || '","sha256":"' || encode(m.sha256, 'hex') || '","width":' || m.width || ',"height":' || m.height
    || ',"contentType":"' || m.content_type || '"}'"""
"""One picture: its texts are names, hashes and types of ours, with nothing in them that JSON escapes. A chain is
3 to 4 ms faster than `json_build_object` for a hundred products, whose images took 9 to 13 with their join."""
SHOWN_BY_MANY = """s.variant_id = v.id AND (v.shown_generation > 0 AND s.generation = v.shown_generation
    OR v.shown_generation <= 0 AND s.generation = v.generation)"""
"""What `SHOWN` says, for a join of many variants: there PostgreSQL 18 takes the CASE to hold for half a percent of the
pictures, and joined those of a hundred products as if there were four."""
IMAGES = f"""LEFT JOIN (
    SELECT v.id, {as_bytes(f"'[' || string_agg({IMAGE}, ',' ORDER BY s.position) || ']'")} AS images
    FROM v JOIN shown_pictures s ON {SHOWN_BY_MANY} {STORED} GROUP BY v.id) shown ON shown.id = v.id"""
"""Of all variants together: as a subquery of each it is most of what the statement costs."""
COLUMNS: dict[VariantPart, tuple[str, str]] = {
    "content": (as_bytes("CAST(v.content AS text)"), ""),
    "prices": (as_bytes("CAST(t.tiers AS text)"), "LEFT JOIN prices t ON t.variant_id = v.id"),
    "imprintPositions": ("i.packed", "LEFT JOIN imprint_positions i ON i.variant_id = v.id"),
    "images": ("shown.images", IMAGES),
}
OF_PRODUCTS = "v.product_id = ANY(CAST(:ids AS bigint[]))"
BY_ID = "v.id = ANY(CAST(:ids AS bigint[]))"
IN_ORDER = "v.product_id, v.status, v.position, v.sku"
"""The feed's order, discontinued ones last."""


class WholeVariant(msgspec.Struct, frozen=True):
    """A variant; a part that was not asked for is None, as is one that it does not have."""

    id: int
    product_id: int
    sku: str
    status: str
    is_primary: bool
    content: bytes | None
    """JSON, as are `prices` and `images`; in place of addresses these have the pictures' keys."""
    prices: bytes | None
    imprint_packed: bytes | None
    images: bytes | None


async def variants_of(
    db: AsyncConnection, product_ids: Sequence[int], parts: Collection[VariantPart] = PARTS
) -> list[WholeVariant]:
    """The variants of these products: one product after the other, each in the feed's order."""
    rows = await ask(db, variants_statement(OF_PRODUCTS, parts), {"ids": list(product_ids)})
    return [WholeVariant(*row) for row in rows]


async def variants_by_id(db: AsyncConnection, variant_ids: Sequence[int]) -> dict[int, WholeVariant]:
    """These variants, whole."""
    rows = await ask(db, variants_statement(BY_ID, PARTS), {"ids": list(variant_ids)})
    return {row.id: WholeVariant(*row) for row in rows}


def variants_statement(which: str, parts: Collection[VariantPart]) -> str:
    """The statement that reads variants with some of their parts; the others are null, and nothing of them is read."""
    columns, joins = columns_of(parts)
    return f"""
    WITH v AS (SELECT * FROM variants v WHERE {which})
    SELECT {columns} FROM v {joins} ORDER BY {IN_ORDER}"""


def columns_of(parts: Collection[VariantPart]) -> tuple[str, str]:
    """The columns of a WholeVariant of `v`, and what has to be joined to `v` for them."""
    columns = ", ".join(COLUMNS[part][0] if part in parts else "NULL" for part in COLUMNS)
    joins = " ".join(COLUMNS[part][1] for part in COLUMNS if part in parts)
    return f"v.id, v.product_id, v.sku, v.status, v.is_primary, {columns}", joins
