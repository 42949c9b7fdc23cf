"""A product that loses the variant which stands for it gets another one in the same commit, and followers are told."""

from __future__ import annotations

from collections.abc import Sequence

from app.persistence import catalogue
from app.persistence.changes import Change
from app.persistence.database import Connection

Told = tuple[tuple[int, str], Change]
"""A product's supplier and SKU, and what is told of a variant of it."""


async def place_primaries(
    db: Connection, products: Sequence[tuple[int, str]], price_regions: Sequence[str]
) -> list[Told]:
    """See that one active variant stands for each of these products, which are held; returns what is to be told."""
    return [
        (
            (item.supplier_id, item.product_sku),
            Change(
                "updated",
                "variant",
                item.sku,
                item.product_sku,
                ("isPrimary",),
                {"isPrimary": not item.is_primary},
                {"isPrimary": item.is_primary},
            ),
        )
        for item in await catalogue.settle_primaries(db, sorted(products), price_regions)
    ]
