"""The catalogue: pages of products, one product, what happened to it, and why it is as it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from app.api.auth import GuardedRoute, Viewer
from app.api.catalogue_pages import ReadingNeeded, page_of
from app.api.chosen_fields import OF_LISTED, OF_PRODUCT, Fields, form_of
from app.api.cursors import LARGEST_BIGINT, AfterChange, write_cursor
from app.api.json_answer import OrjsonResponse
from app.api.ndjson import NDJSON, Export, Wanted, wants_lines
from app.api.paging import Page, PagingNeeded, page_example
from app.api.problems import problem_answers
from app.api.product_cursors import read_after, refuse_cursor, write_after
from app.api.schemas import DatabaseNeeded, ProductStatus, SupplierNamed, UpdatedSince, WhoseSku, Word
from app.api.supplier_filter import know_supplier
from app.api.validators import NOT_MODIFIED, etag_of
from app.persistence import change_feed, product_lists
from app.persistence.database import Database
from app.persistence.product_lists import ProductFilter, Sort
from app.views.by_sku import one_product
from app.views.catalogue import products_json, whole_product
from app.views.changes import HISTORY_ENTRY, HistoryEntry, history_json
from app.views.explained import Explained, explain
from app.views.products import CHOSEN, LISTED_PRODUCT, PRODUCT_EXAMPLE, ChosenOfProduct, ListedProduct, Product

router = APIRouter(prefix="/api/v1/products", tags=["catalogue"], route_class=GuardedRoute)

Sku = Annotated[str, Path(description="Percent-encoded; may hold a slash.", examples=["A360-100804"])]
ONE = problem_answers(404, 409)
LIST_ANSWER: dict[str, Any] = {
    "content": {
        "application/json": {
            "examples": {
                "items": {"value": {"items": [LISTED_PRODUCT], "nextCursor": None}},
                "expand=variants": {"value": {"items": [PRODUCT_EXAMPLE], "nextCursor": None}},
                "fields=sku,name,variants.prices": {"value": {"items": [CHOSEN], "nextCursor": None}},
            }
        },
        NDJSON: {
            "schema": {"type": "string", "description": "A product a line, in the shape of one product."},
            "example": orjson.dumps(PRODUCT_EXAMPLE).decode() + "\n",
        },
    },
    "headers": {
        "X-Changes-Head": {
            "description": "With NDJSON: the change feed's `seq` of the moment that the lines are of.",
            "schema": {"type": "integer"},
        }
    },
}


@router.get(
    "",
    operation_id="listProducts",
    summary="Products by SKU or by time, in pages or all at once",
    response_model=Page[ListedProduct] | Page[Product] | Page[ChosenOfProduct],
    responses={200: LIST_ANSWER, **NOT_MODIFIED, **problem_answers(404)},
)
async def list_products(
    *,
    request: Request,
    reading: ReadingNeeded,
    paging: PagingNeeded,
    supplier: SupplierNamed = None,
    q: Annotated[
        Word | None, Query(description="Words of names, or the beginning of a SKU or EAN, a variant's too.")
    ] = None,
    status: ProductStatus = None,
    category: Annotated[
        Word | None, Query(description="A category's path such as `BAGS/SHOPPING_BAGS`, with what lies below it.")
    ] = None,
    updatedSince: UpdatedSince = None,  # noqa: N803  the parameter's name
    expand: Annotated[Literal["variants"] | None, Query(description="Whole products in place of items.")] = None,
    fields: Fields = None,
    sort: Annotated[
        Sort, Query(description="`updatedAt`: what changed last comes last, with the gap of `updatedSince`.")
    ] = "sku",
) -> Response:
    """`q` finds words of names in any language and the beginnings of SKUs and EANs, variants' too.

    `category` includes what lies below it. A cursor belongs to its `sort`.

    With `Accept: application/x-ndjson` every product that the filter means, whole, one a line, without paging (`limit`
    does not count, a `cursor` is refused), as of one moment; the header `X-Changes-Head` is the change feed's `seq` of
    that moment: `/changes?since=` goes on there.
    """
    wanted = ProductFilter(supplier, status, category, updatedSince, q)
    lines = wants_lines(request)
    possible, expanded = (OF_PRODUCT, True) if lines else (OF_LISTED, expand is not None)
    form = form_of(fields, possible, reading.form(expanded=expanded))
    if lines:
        refuse_cursor(paging.cursor)
        await _know(reading.database, supplier)
        return Export(request, reading.database, Wanted(wanted, sort, form))
    after = read_after(sort, paging.cursor)
    async with reading.database.read() as db:
        await know_supplier(db, supplier)
        rows = await product_lists.list_keys(db, wanted, sort=sort, after=after, limit=paging.rows)
        shown, more = paging.cut(rows)
        next_cursor = write_after(sort, shown[-1]) if more else None
        etag = etag_of("products", form.stamp, [(row.id, row.version, row.supplier) for row in shown], next_cursor)
        known = reading.known(etag)
        if known is not None:
            return known
        items = await products_json(db, shown, form)
    return await reading.new(page_of(items, next_cursor), etag)


async def _know(database: Database, supplier: str | None) -> None:
    if supplier is not None:
        async with database.read() as db:
            await know_supplier(db, supplier)


@router.get(
    "/{sku:sku}/history",
    operation_id="getProductHistory",
    summary="What changed about a product, the newest first",
    response_model=Page[HistoryEntry],
    responses={**page_example(HISTORY_ENTRY), **ONE},
)
async def get_product_history(
    *,
    sku: Sku,
    database: DatabaseNeeded,
    caller: Viewer,
    paging: PagingNeeded,
    supplier: WhoseSku = None,
) -> OrjsonResponse:
    """Old and new value of each changed field, of the product and of its variants."""
    after = paging.after(AfterChange)
    before_id = LARGEST_BIGINT if after is None else after.number
    async with database.read() as db:
        product = await one_product(db, sku, supplier)
        rows = await change_feed.history_of(
            db, product.supplier_id, product.sku, before_id=before_id, limit=paging.rows
        )
    shown, more = paging.cut(rows)
    return OrjsonResponse(
        {
            "items": [history_json(row, sees_buying=caller.sees_buying_prices) for row in shown],
            "nextCursor": write_cursor(AfterChange(shown[-1]["id"])) if more else None,
        }
    )


@router.get(
    "/{sku:sku}/explain",
    operation_id="explainProduct",
    summary="Why a product is as it is",
    responses=ONE,
)
async def explain_product(
    request: Request, sku: Sku, database: DatabaseNeeded, _: Viewer, supplier: WhoseSku = None
) -> Explained:
    """Its documents, the hashes that were seen and applied, the last run and error, and pictures that are pending.

    Also answers for a family that was never read, when the manifest names a document of that name.
    """
    return await explain(request.app.state.settings, database, sku, supplier)


@router.get(
    "/{sku:sku}",
    operation_id="getProduct",
    summary="One product with its variants",
    response_model=Product | ChosenOfProduct,
    responses={200: {"content": {"application/json": {"example": PRODUCT_EXAMPLE}}}, **NOT_MODIFIED, **ONE},
)
async def get_product(
    *, sku: Sku, reading: ReadingNeeded, supplier: WhoseSku = None, fields: Fields = None
) -> Response:
    """Where two suppliers have the SKU, `supplier` says which is meant; without it a 409 names them."""
    form = form_of(fields, OF_PRODUCT, reading.form())
    return await reading.one(
        lambda db: one_product(db, sku, supplier),
        lambda key: etag_of("product", form.stamp, key.id, key.version, key.supplier),
        lambda db: whole_product(db, sku, supplier, form),
    )
