"""Reading a page of the catalogue in some form: a constant number of statements, nothing of what it leaves out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby

from app.persistence import product_lists, whole_variants
from app.persistence.database import Connection
from app.persistence.product_lists import ListExtra, ProductKey
from app.persistence.variant_lists import VariantKey
from app.persistence.whole_products import Wanted
from app.persistence.whole_variants import WholeVariant
from app.views.by_sku import one_whole_product, one_whole_variant
from app.views.whole import Form, Json, product_json, variant_alone

EMPTY = b"{}"


class Batch:
    """What was read of some products, to be put together one by one: each of them takes some 100 µs."""

    def __init__(
        self,
        keys: Sequence[ProductKey],
        form: Form,
        contents: dict[int, bytes],
        extras: dict[int, ListExtra],
        variants: dict[int, list[WholeVariant]],
    ) -> None:
        self._keys = keys
        self._form = form
        self._contents = contents
        self._extras = extras
        self._variants = variants

    def __len__(self) -> int:
        return len(self._keys)

    def json_of(self, number: int) -> Json:
        """The product at this place."""
        key = self._keys[number]
        variants = self._variants.get(key.id, []) if self._form.expanded else None
        content = self._contents.get(key.id, EMPTY)
        return product_json(key, content, self._form, variants=variants, extra=self._extras.get(key.id))


async def read_products(db: Connection, keys: Sequence[ProductKey], form: Form) -> Batch:
    """Read what a form shows of products."""
    ids = [key.id for key in keys]
    contents = await product_lists.contents_of(db, ids) if form.product_content else {}
    extras = await product_lists.list_extras(db, ids) if form.extras else {}
    variants = await whole_variants.variants_of(db, ids, form.parts) if form.expanded else []
    by_product = {product_id: list(rows) for product_id, rows in groupby(variants, key=lambda row: row.product_id)}
    return Batch(keys, form, contents, extras, by_product)


async def products_json(db: Connection, keys: Sequence[ProductKey], form: Form) -> list[Json]:
    """Products in some form, in the order of the keys."""
    batch = await read_products(db, keys, form)
    return [await _giving_way(batch.json_of(number)) for number in range(len(batch))]


async def variants_json(db: Connection, keys: Sequence[VariantKey], form: Form) -> list[Json]:
    """Variants by themselves, in the order of the keys."""
    found = await whole_variants.variants_by_id(db, [key.id for key in keys])
    return [await _giving_way(variant_alone(key, found[key.id], form)) for key in keys]


async def whole_product(db: Connection, sku: str, supplier: str | None, form: Form) -> tuple[ProductKey, Json]:
    """The product with this SKU in some form, and its key, of one moment and by one statement.

    Raises:
        NotFound: there is none.
        SeveralSuppliers: several suppliers have it, and none was named.
    """
    wanted = Wanted(form.product_content, form.parts if form.expanded else None)
    found = await one_whole_product(db, sku, supplier, wanted)
    variants = found.variants if form.expanded else None
    return found.key, product_json(found.key, found.content or EMPTY, form, variants=variants)


async def whole_variant(db: Connection, sku: str, supplier: str | None, form: Form) -> tuple[VariantKey, Json]:
    """The variant with this SKU and its key; as `whole_product`."""
    key, found = await one_whole_variant(db, sku, supplier)
    return key, variant_alone(key, found, form)


async def _giving_way(made: Json) -> Json:
    """What was made, after everybody else of the process had a turn: five hundred whole products take seconds."""
    await asyncio.sleep(0)
    return made
