"""The one product or variant that a SKU means; several suppliers may have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from app.errors import NotFound, SeveralSuppliers
from app.persistence import product_lists, variant_lists, whole_products
from app.persistence.database import Connection
from app.persistence.product_lists import ProductKey
from app.persistence.variant_lists import VariantFilter, VariantKey
from app.persistence.whole_products import Wanted, WholeProduct
from app.persistence.whole_variants import WholeVariant

Found = TypeVar("Found")
MOST_OF_A_SKU = 100
"""Suppliers that an error names."""


async def one_product(db: Connection, sku: str, supplier: str | None) -> ProductKey:
    """The product with this SKU.

    Raises:
        NotFound: there is none.
        SeveralSuppliers: several suppliers have it, and none was named.
    """
    found = await product_lists.find_keys(db, sku, supplier)
    return _the_one(found, [row.supplier for row in found], "product", sku, supplier)


async def one_whole_product(db: Connection, sku: str, supplier: str | None, wanted: Wanted) -> WholeProduct:
    """The same with what is wanted of it; raises as `one_product`."""
    found = await whole_products.find_whole(db, sku, supplier, wanted)
    return _the_one(found, [row.key.supplier for row in found], "product", sku, supplier)


async def one_variant(db: Connection, sku: str, supplier: str | None) -> VariantKey:
    """The variant with this SKU.

    Raises:
        NotFound: there is none.
        SeveralSuppliers: several suppliers have it, and none was named.
    """
    wanted = VariantFilter(sku=sku, supplier=supplier)
    found = await variant_lists.list_keys(db, wanted, after=None, limit=MOST_OF_A_SKU)
    return _the_one(found, [row.supplier for row in found], "variant", sku, supplier)


async def one_whole_variant(db: Connection, sku: str, supplier: str | None) -> tuple[VariantKey, WholeVariant]:
    """The same, whole; raises as `one_variant`."""
    wanted = VariantFilter(sku=sku, supplier=supplier)
    found = await whole_products.find_whole_variants(db, wanted, limit=MOST_OF_A_SKU)
    return _the_one(found, [key.supplier for key, _ in found], "variant", sku, supplier)


def _the_one(found: Sequence[Found], suppliers: Sequence[str], kind: str, sku: str, supplier: str | None) -> Found:
    if not found:
        raise NotFound(f"there is no {kind} {sku}" + (f" of supplier {supplier}" if supplier else ""))
    if len(found) > 1:
        raise SeveralSuppliers(sku, sorted(suppliers))
    return found[0]
