"""The catalogue: pages of products, one product, what happened to it, and why it is as it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request

from app.api.auth import Caller, GuardedRoute, Viewer
from app.api.cursors import LARGEST_BIGINT, AfterNumber, AfterSku, Cursor, read_cursor, write_cursor
from app.api.json_answer import OrjsonResponse
from app.api.problems import problem_answers
from app.api.public_addresses import PictureAddressNeeded
from app.api.schemas import (
    DEFAULT_LIMIT,
    DatabaseNeeded,
    Limit,
    Moment,
    Page,
    ServicesNeeded,
    Word,
    cut,
    page_example,
)
from app.errors import NotFound, SeveralSuppliers
from app.persistence import change_feed, product_lists
from app.persistence.database import Connection
from app.persistence.product_lists import ProductFilter, ProductRow
from app.views.buying_prices import without_buying
from app.views.changes import HISTORY_ENTRY, HistoryEntry, history_json
from app.views.explained import Explained, explain
from app.views.products import LISTED_PRODUCT, ListedProduct, Product, listed_json, product_json, variants_json

router = APIRouter(prefix="/api/v1/products", tags=["catalogue"], route_class=GuardedRoute)

Sku = Annotated[str, Path(description="Percent-encoded; may hold a slash.", examples=["A360-100804"])]
ONE = problem_answers(404, 409)


@router.get(
    "",
    operation_id="listProducts",
    summary="Products by SKU",
    response_model=Page[ListedProduct],
    responses={**page_example(LISTED_PRODUCT), **problem_answers()},
)
async def list_products(
    *,
    services: ServicesNeeded,
    address_of: PictureAddressNeeded,
    caller: Viewer,
    supplier: Word | None = None,
    q: Word | None = None,
    status: Literal["active", "discontinued"] | None = None,
    category: Word | None = None,
    updatedSince: Moment | None = None,  # noqa: N803  the parameter's name
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> OrjsonResponse:
    """`q` finds words of names in any language and the beginnings of SKUs; `category` includes what lies below it."""
    after = read_cursor(AfterSku, cursor)
    wanted = ProductFilter(supplier, status, category, updatedSince, q)
    async with services.database.read() as db:
        rows = await product_lists.list_products(
            db, wanted, after=None if after is None else (after.sku, after.supplier_id), limit=limit + 1
        )
        shown, more = cut(rows, limit)
        extras = await product_lists.list_extras(db, [row.id for row in shown])
    items = [listed_json(row, extras[row.id], address_of) for row in shown]
    last = shown[-1] if more else None
    return OrjsonResponse(
        {
            "items": _visible(caller, items),
            "nextCursor": None if last is None else write_cursor(AfterSku(last.sku, last.supplier_id)),
        }
    )


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
    supplier: Word | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> OrjsonResponse:
    """Old and new value of each changed field, of the product and of its variants."""
    after = read_cursor(AfterNumber, cursor)
    before_id = LARGEST_BIGINT if after is None else after.number
    async with database.read() as db:
        product = await _one(db, sku, supplier)
        rows = await change_feed.history_of(db, product.supplier_id, product.sku, before_id=before_id, limit=limit + 1)
    shown, more = cut(rows, limit)
    return OrjsonResponse(
        {
            "items": _visible(caller, [history_json(row) for row in shown]),
            "nextCursor": write_cursor(AfterNumber(shown[-1]["id"])) if more else None,
        }
    )


@router.get(
    "/{sku:sku}/explain",
    operation_id="explainProduct",
    summary="Why a product is as it is",
    responses=ONE,
)
async def explain_product(
    request: Request, sku: Sku, database: DatabaseNeeded, _: Viewer, supplier: Word | None = None
) -> Explained:
    """Its documents, the hashes that were seen and applied, the last run and error, and pictures that are pending.

    Also answers for a family that was never read, when the manifest names a document of that name.
    """
    return await explain(request.app.state.settings, database, sku, supplier)


@router.get(
    "/{sku:sku}",
    operation_id="getProduct",
    summary="One product with its variants",
    response_model=Product,
    responses=ONE,
)
async def get_product(
    sku: Sku, services: ServicesNeeded, address_of: PictureAddressNeeded, caller: Viewer, supplier: Word | None = None
) -> OrjsonResponse:
    """Where two suppliers have the SKU, `supplier` says which is meant; without it a 409 names them."""
    async with services.database.read() as db:
        product = await _one(db, sku, supplier)
        variants = await product_lists.variants_of(db, product.id)
        pictures = await product_lists.pictures_of(db, product.id)
    body = {
        **product_json(product),
        "variants": variants_json(product.sku, variants, pictures, address_of),
    }
    return OrjsonResponse(_visible(caller, body))


async def _one(db: Connection, sku: str, supplier: str | None) -> ProductRow:
    found = await product_lists.find_products(db, sku, supplier)
    if not found:
        raise NotFound(f"there is no product {sku}" + (f" of supplier {supplier}" if supplier else ""))
    if len(found) > 1:
        raise SeveralSuppliers(sku, sorted(row.supplier for row in found))
    return found[0]


def _visible(caller: Caller, value: Any) -> Any:
    return value if caller.sees_buying_prices else without_buying(value)
