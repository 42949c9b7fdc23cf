"""Which variant stands for a product that another family, or the feed, took its variant from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalogue.grouping import primaries
from app.persistence.statements import ask


class Stepped(msgspec.Struct, frozen=True):
    """A variant that stands for its product from now on, or no more."""

    supplier_id: int
    product_sku: str
    sku: str
    is_primary: bool


class _Candidate(msgspec.Struct, frozen=True):
    product_id: int
    defaults: dict[str, str] | None
    id: int
    sku: str
    is_primary: bool
    dropped: bool


async def settle_primaries(
    db: AsyncConnection, products: Sequence[tuple[int, str]], price_regions: Sequence[str]
) -> list[Stepped]:
    """See that one active variant stands for each of these products, by supplier and SKU; returns what changed.

    The caller holds the products. It is the one that their documents would name of what is left, where none is; a
    discontinued one steps back beside it. What waits to be settled as dropped stands for none that has others.
    """
    if not products:
        return []
    names = {"suppliers": [supplier_id for supplier_id, _ in products], "skus": [sku for _, sku in products]}
    rows = await ask(
        db,
        """
        SELECT p.id, p.content #> '{attributes,defaultProducts}', v.id, v.sku, v.is_primary,
            v.dropped_run_id IS NOT NULL
        FROM unnest(CAST(:suppliers AS int[]), CAST(:skus AS text[])) AS r(supplier_id, sku)
        JOIN products p ON p.supplier_id = r.supplier_id AND p.sku = r.sku AND p.status = 'active'
        JOIN variants v ON v.product_id = p.id AND v.status = 'active'
        WHERE NOT EXISTS (SELECT FROM variants o WHERE o.product_id = p.id AND o.status = 'active' AND o.is_primary
                          AND o.dropped_run_id IS NULL)
        ORDER BY p.id, v.position, v.sku""",
        names,
    )
    of_product = groupby((_Candidate(*row) for row in rows), key=lambda candidate: candidate.product_id)
    chosen = [_first(list(candidates), price_regions) for _, candidates in of_product]
    stepped = await ask(
        db,
        """
        WITH standing AS (
            SELECT p.id AS product_id, p.supplier_id, p.sku AS product_sku, v.id, v.sku,
                v.id = ANY(CAST(:chosen AS bigint[])) AS is_primary
            FROM unnest(CAST(:suppliers AS int[]), CAST(:skus AS text[])) AS r(supplier_id, sku)
            JOIN products p ON p.supplier_id = r.supplier_id AND p.sku = r.sku AND p.status = 'active'
            JOIN variants v ON v.product_id = p.id
            WHERE v.id = ANY(CAST(:chosen AS bigint[])) AND NOT v.is_primary
               OR v.status = 'discontinued' AND v.is_primary AND EXISTS (
                  SELECT FROM variants o WHERE o.product_id = p.id AND o.status = 'active'
                    AND (o.is_primary OR o.id = ANY(CAST(:chosen AS bigint[]))))
            ORDER BY v.supplier_id, v.sku FOR NO KEY UPDATE OF v),
        touched AS (
            UPDATE products SET updated_at = clock_timestamp() WHERE id IN (SELECT product_id FROM standing)),
        written AS (
            UPDATE variants v SET is_primary = s.is_primary, updated_at = clock_timestamp()
            FROM standing s WHERE v.id = s.id)
        SELECT supplier_id, product_sku, sku, is_primary FROM standing ORDER BY supplier_id, sku""",
        {**names, "chosen": chosen},
    )
    return [Stepped(*row) for row in stepped]


def _first(candidates: Sequence[_Candidate], price_regions: Sequence[str]) -> int:
    kept = [candidate for candidate in candidates if not candidate.dropped] or candidates
    ids = {candidate.sku: candidate.id for candidate in kept}
    standing = [candidate.sku for candidate in kept if candidate.is_primary]
    return ids[(standing or primaries(kept[0].defaults or {}, list(ids), price_regions))[0]]
