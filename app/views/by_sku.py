"""The one product or variant that a SKU means; several suppliers may have it."""

from __future__ import annotations

from app.errors import NotFound, SeveralSuppliers
from app.persistence import product_lists, variant_lists
from app.persistence.database import Connection
from app.persistence.product_lists import ProductKey
from app.persistence.variant_lists import VariantFilter, VariantKey

MOST_OF_A_SKU = 100
"""Suppliers that an error names."""


async def one_product(db: Connection, sku: str, supplier: str | None) -> ProductKey:
    """The product with this SKU.

    Raises:
        NotFound: there is none.
        SeveralSuppliers: several suppliers have it, and none was named.
    """
    found = await product_lists.find_keys(db, sku, supplier)
    if not found:
        raise NotFound(f"there is no product {sku}{_of(supplier)}")
    if len(found) > 1:
        raise SeveralSuppliers(sku, sorted(row.supplier for row in found))
    return found[0]


async def one_variant(db: Connection, sku: str, supplier: str | None) -> VariantKey:
    """The variant with this SKU.

    Raises:
        NotFound: there is none.
        SeveralSuppliers: several suppliers have it, and none was named.
    """
    wanted = VariantFilter(sku=sku, supplier=supplier)
    found = await variant_lists.list_keys(db, wanted, after=None, limit=MOST_OF_A_SKU)
    if not found:
        raise NotFound(f"there is no variant {sku}{_of(supplier)}")
    if len(found) > 1:
        raise SeveralSuppliers(sku, sorted(row.supplier for row in found))
    return found[0]


def _of(supplier: str | None) -> str:
    return f" of supplier {supplier}" if supplier else ""
