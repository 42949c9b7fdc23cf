"""Variants by themselves: pages of them, and one by its SKU."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from app.api.auth import GuardedRoute
from app.api.catalogue_pages import ReadingNeeded, page_of
from app.api.cursors import AfterVariant, write_cursor
from app.api.paging import Page, PagingNeeded, page_example
from app.api.problems import problem_answers
from app.api.schemas import ProductStatus, SupplierNamed, UpdatedSince, WhoseSku, Word
from app.api.supplier_filter import know_supplier
from app.api.validators import NOT_MODIFIED, etag_of
from app.persistence import variant_lists
from app.persistence.variant_lists import VariantFilter, VariantKey
from app.views.by_sku import one_variant
from app.views.catalogue import variants_json, whole_variant
from app.views.products import LISTED_VARIANT, ListedVariant

router = APIRouter(prefix="/api/v1/variants", tags=["catalogue"], route_class=GuardedRoute)

Sku = Annotated[str, Path(description="Percent-encoded; may hold a slash.", examples=["A360-100804-001"])]


@router.get(
    "",
    operation_id="listVariants",
    summary="Variants by SKU",
    response_model=Page[ListedVariant],
    responses={**NOT_MODIFIED, **page_example(LISTED_VARIANT), **problem_answers(404)},
)
async def list_variants(
    *,
    reading: ReadingNeeded,
    paging: PagingNeeded,
    ean: Annotated[Word | None, Query(description="The whole EAN.")] = None,
    sku: Annotated[Word | None, Query(description="The whole SKU.")] = None,
    supplier: SupplierNamed = None,
    productSku: Annotated[Word | None, Query(description="Those of one product.")] = None,  # noqa: N803  its name
    status: ProductStatus = None,
    updatedSince: UpdatedSince = None,  # noqa: N803  the parameter's name
) -> Response:
    """Each as in its product, with its supplier; without `status` both, discontinued ones with their last state."""
    after, form = paging.after(AfterVariant), reading.form()
    wanted = VariantFilter(ean, sku, supplier, productSku, status, updatedSince)
    async with reading.database.read() as db:
        await know_supplier(db, supplier)
        rows = await variant_lists.list_keys(
            db, wanted, after=None if after is None else (after.sku, after.supplier_id), limit=paging.rows
        )
        shown, more = paging.cut(rows)
        next_cursor = write_cursor(AfterVariant(shown[-1].sku, shown[-1].supplier_id)) if more else None
        etag = etag_of("variants", form.stamp, [_stamp(row) for row in shown], next_cursor)
        known = reading.known(etag)
        if known is not None:
            return known
        items = await variants_json(db, shown, form)
    return await reading.new(page_of(items, next_cursor), etag)


@router.get(
    "/{sku:sku}",
    operation_id="getVariant",
    summary="One variant",
    response_model=ListedVariant,
    responses={**NOT_MODIFIED, **problem_answers(404, 409)},
)
async def get_variant(*, sku: Sku, reading: ReadingNeeded, supplier: WhoseSku = None) -> Response:
    """Where two suppliers have the SKU, `supplier` says which is meant; without it a 409 names them."""
    form = reading.form()
    return await reading.one(
        lambda db: one_variant(db, sku, supplier),
        lambda key: etag_of("variant", form.stamp, _stamp(key)),
        lambda db: whole_variant(db, sku, supplier, form),
    )


def _stamp(key: VariantKey) -> list[object]:
    return [key.id, key.version, key.supplier, key.product_sku]
