"""Finding variants: pages of them by SKU, and those with one SKU."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.statements import ask
from app.persistence.suppliers import meant


class VariantFilter(msgspec.Struct, frozen=True):
    """Which variants are meant; None means any."""

    ean: str | None = None
    sku: str | None = None
    supplier: str | None = None
    """A supplier's code or `documentId`."""
    product_sku: str | None = None
    status: str | None = None
    updated_since: datetime | None = None


class VariantKey(msgspec.Struct, frozen=True):
    """What a page knows of a variant before the rest is read."""

    id: int
    sku: str
    supplier_id: int
    supplier: str
    product_sku: str
    version: int
    """Its product's."""


KEYS = """v.id, v.sku, v.supplier_id, s.code AS supplier, p.sku AS product_sku,
    COALESCE(pv.version, 0) AS version"""
VARIANTS = """variants v JOIN suppliers s ON s.id = v.supplier_id JOIN products p ON p.id = v.product_id
    LEFT JOIN product_versions pv ON pv.product_id = p.id"""
CONDITIONS = {
    "ean": "v.content ->> 'ean' = :ean",
    "sku": "v.sku = :sku",
    "supplier": f"v.supplier_id = ({meant('supplier')})",
    "product_sku": "v.product_id IN (SELECT o.id FROM products o WHERE o.sku = :product_sku)",
    "status": "v.status = :status",
    "updated_since": "v.updated_at >= :updated_since",
}


async def list_keys(
    db: AsyncConnection, wanted: VariantFilter, *, after: tuple[str, int] | None, limit: int
) -> list[VariantKey]:
    """A page of variants by SKU, from after (`sku`, supplier's id)."""
    statement, parameters = keys_statement(wanted, after=after, limit=limit)
    return [VariantKey(*row) for row in await ask(db, statement, parameters)]


def keys_statement(
    wanted: VariantFilter, *, after: tuple[str, int] | None, limit: int
) -> tuple[str, dict[str, object]]:
    """The statement behind `list_keys`, with its parameters."""
    asked = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
    conditions = ["true", *(CONDITIONS[name] for name in asked)]
    parameters: dict[str, object] = {**asked, "limit": limit}
    if after is not None:
        conditions.append('(v.sku, v.supplier_id) > (CAST(:after_sku AS text) COLLATE "C", :after_supplier)')
        parameters |= {"after_sku": after[0], "after_supplier": after[1]}
    where = " AND ".join(conditions)
    return f"SELECT {KEYS} FROM {VARIANTS} WHERE {where} ORDER BY v.sku, v.supplier_id LIMIT :limit", parameters
