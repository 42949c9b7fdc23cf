"""The catalogue: products as pictures, and one product with everything about it.

What a product cost the seller is left out for viewers, as in the API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request, Response

from app.api.cursors import LARGEST_BIGINT, AfterChange, read_cursor, write_cursor
from app.api.paging import cut
from app.api.product_cursors import read_after, write_after
from app.api.public_addresses import PictureAddressesNeeded
from app.api.schemas import ServicesNeeded, Typed
from app.api.supplier_filter import know_supplier
from app.dashboard.entering import PageRoute, Reader
from app.dashboard.price_tables import price_tables
from app.dashboard.showing import show
from app.dashboard.wording import best
from app.persistence import change_feed, product_lists
from app.persistence.product_lists import ProductFilter, Sort
from app.views.catalogue import products_json, whole_product
from app.views.changes import history_json
from app.views.explained import explain
from app.views.whole import Form

router = APIRouter(include_in_schema=False, route_class=PageRoute)

A_PAGE = 48
CHANGES_SHOWN = 30
SORT: Sort = "sku"
STATUSES = ("active", "discontinued")
Sku = Annotated[str, Path()]


@router.get("/catalogue")
async def get_catalogue(
    *,
    request: Request,
    services: ServicesNeeded,
    caller: Reader,
    addresses: PictureAddressesNeeded,
    q: Typed = "",
    supplier: Typed = "",
    status: str = "active",
    category: Typed = "",
    cursor: str | None = None,
) -> Response:
    """Products by SKU."""
    after = read_after(SORT, cursor)
    wanted = ProductFilter(
        supplier=supplier or None,
        status=status if status in STATUSES else None,
        category=category or None,
        words=q or None,
    )
    form = Form(addresses, caller.sees_buying_prices, expanded=False)
    async with services.database.read() as db:
        await know_supplier(db, wanted.supplier)
        rows = await product_lists.list_keys(db, wanted, sort=SORT, after=after, limit=A_PAGE + 1)
        shown, more = cut(rows, A_PAGE)
        products = [orjson.loads(b"".join(product)) for product in await products_json(db, shown, form)]
    following = write_after(SORT, shown[-1]) if more else None
    return show(
        request,
        caller,
        "catalogue.html",
        title="Catalogue",
        pictures=[product["primaryImageUrl"] for product in products if product["primaryImageUrl"]],
        products=products,
        following=following,
        wanted=wanted,
        statuses=STATUSES,
    )


@router.get("/catalogue/{sku:sku}")
async def get_product(
    *,
    request: Request,
    sku: Sku,
    services: ServicesNeeded,
    caller: Reader,
    addresses: PictureAddressesNeeded,
    supplier: Typed = "",
    before: str | None = None,
) -> Response:
    """One product with its variants, prices, imprint positions, history, and why it is as it is."""
    position = read_cursor(AfterChange, before)
    before_id = LARGEST_BIGINT if position is None else position.number
    form = Form(addresses, caller.sees_buying_prices)
    async with services.database.read() as db:
        row, whole = await whole_product(db, sku, supplier or None, form)
        history = await change_feed.history_of(
            db, row.supplier_id, row.sku, before_id=before_id, limit=CHANGES_SHOWN + 1
        )
    product = orjson.loads(b"".join(whole))
    shown = by_colour(product["variants"])
    changes, more = cut(history, CHANGES_SHOWN)
    return show(
        request,
        caller,
        "product.html",
        title=best(product["name"]) or row.sku,
        pictures=[image["url"] for variant in shown for image in variant["images"]],
        product=product,
        variants=[{**variant, "tables": price_tables(variant["prices"])} for variant in shown],
        changes=[history_json(change, sees_buying=caller.sees_buying_prices) for change in changes],
        following=write_cursor(AfterChange(changes[-1]["id"])) if more else None,
        explained=await explain(services.settings, services.database, row.sku, row.supplier),
    )


def by_colour(variants: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Variants with what is sold before what is not, then by colour and in the feed's order of sizes."""
    return sorted(variants, key=lambda variant: (variant["status"] != "active", variant.get("color") or ""))
