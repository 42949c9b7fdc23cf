"""`promidata-sync products`, `product` and `variants`: the catalogue as the API gives it, buying prices included."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Any

import orjson

from app.cli.named import know_supplier, with_supplier_asked
from app.cli.programs import http_address
from app.cli.surroundings import with_services
from app.cli.telling import Teller, in_one_line, own_name, tell_json, tell_lines
from app.persistence import exports, product_lists, variant_lists
from app.persistence.database import Connection
from app.persistence.product_lists import ProductFilter, Sort
from app.persistence.variant_lists import VariantFilter
from app.sync.services import Services
from app.views.catalogue import products_json, variants_json, whole_product
from app.views.picture_addresses import addresses_of, public_base
from app.views.whole import Form
from app.wording import counted

AT_A_TIME = 100
STALL_S = 3600
"""For how long a pipe may stand still (`| less`) before the snapshot that it reads is given up, in seconds."""
Item = dict[str, Any]
Raw = Sequence[Sequence[bytes]]
"""JSON of several items, each in pieces."""


def show_products(wanted: ProductFilter, *, sort: Sort, limit: int, as_json: bool) -> None:
    """Print the first products of a filter.

    Raises:
        NotFound: there is no such supplier.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def first(db: Connection, services: Services) -> Raw:
        keys = await product_lists.list_keys(db, wanted, sort=sort, after=None, limit=limit)
        return await products_json(db, keys, _form(services, expanded=False))

    _tell(_read(wanted.supplier, first), _product_line, "products", as_json=as_json)


def stream_products(wanted: ProductFilter, *, sort: Sort, limit: int | None) -> None:
    """Print whole products, one a line, as of one moment; fails as `show_products` does."""

    async def lines(db: Connection, form: Form) -> AsyncGenerator[Raw, None]:
        async for keys in exports.in_chunks(db, wanted, sort=sort, first=AT_A_TIME, then=AT_A_TIME):
            yield await products_json(db, keys, form)

    _stream(wanted.supplier, lines, limit)


def show_variants(wanted: VariantFilter, *, limit: int, as_json: bool) -> None:
    """Print the first variants of a filter; fails as `show_products` does."""

    async def first(db: Connection, services: Services) -> Raw:
        keys = await variant_lists.list_keys(db, wanted, after=None, limit=limit)
        return await variants_json(db, keys, _form(services))

    _tell(_read(wanted.supplier, first), _variant_line, "variants", as_json=as_json)


def stream_variants(wanted: VariantFilter, *, limit: int | None) -> None:
    """Print variants, one a line, as of one moment; fails as `show_variants` does."""

    async def lines(db: Connection, form: Form) -> AsyncGenerator[Raw, None]:
        after = None
        while keys := await variant_lists.list_keys(db, wanted, after=after, limit=AT_A_TIME):
            yield await variants_json(db, keys, form)
            after = (keys[-1].sku, keys[-1].supplier_id)

    _stream(wanted.supplier, lines, limit)


def show_product(sku: str, *, supplier: str | None, as_json: bool) -> None:
    """Print one product with its variants.

    Raises:
        NotFound: there is no such product or supplier.
        Conflict: several suppliers have it, and none was named.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> Item:
        await know_supplier(services, supplier)
        async with services.database.read() as db:
            _, product = await whole_product(db, sku, supplier, _form(services))
            return _items([product])[0]

    product = with_services(with_supplier_asked(read), shows_pictures=True)
    if as_json:
        tell_json(product)
        return
    teller = Teller()
    for line in _product_lines(product):
        teller.say(in_one_line(line))


def _read(supplier: str | None, first: Callable[[Connection, Services], Awaitable[Raw]]) -> list[Item]:
    async def read(services: Services) -> list[Item]:
        await know_supplier(services, supplier)
        async with services.database.read() as db:
            return _items(await first(db, services))

    return with_services(read, shows_pictures=True)


def _stream(
    supplier: str | None, lines: Callable[[Connection, Form], AsyncGenerator[Raw, None]], limit: int | None
) -> None:
    """Print what comes in chunks, `limit` of it at most, from one snapshot."""

    async def stream(services: Services) -> None:
        await know_supplier(services, supplier)
        left = sys.maxsize if limit is None else limit
        async with (
            services.database.snapshot(idle_s=STALL_S, place_within_s=0) as db,
            aclosing(lines(db, _form(services))) as chunks,
        ):
            async for raw in chunks:
                tell_lines(_lines(raw[:left]))
                left -= min(len(raw), left)
                if left == 0:
                    return

    with_services(stream, shows_pictures=True)


def _form(services: Services, *, expanded: bool = True) -> Form:
    settings = services.settings
    own = http_address(settings.host, settings.port) + settings.root_path
    base = public_base(settings, seen=own, prefix=settings.root_path)
    return Form(addresses_of(services.store, base), sees_buying=True, expanded=expanded)


def _items(raw: Raw) -> list[Item]:
    return [orjson.loads(b"".join(pieces)) for pieces in raw]


def _lines(raw: Raw) -> bytes:
    return b"".join(b"".join(pieces) + b"\n" for pieces in raw)


def _tell(items: Sequence[Item], line_of: Any, what: str, *, as_json: bool) -> None:
    if as_json:
        tell_json(items)
        return
    teller = Teller()
    for item in items:
        teller.say(in_one_line(line_of(item)))
    if not items:
        teller.say(f"no such {what}; `{own_name()} stats` and `runs` say whether anything was synced")


def _product_line(item: Item) -> str:
    count = item["variantCount"]
    variants = counted(count, "variant")
    return f"{item['sku']}  {item['supplier']}  {item['status']}  {variants}  {_named(item['name'])}"


def _variant_line(item: Item) -> str:
    parts = (item["sku"], item["supplier"], item["status"], item["ean"], item["color"], item["size"])
    return "  ".join(part for part in parts if part)


def _named(names: dict[str, str]) -> str:
    return next(iter(names.values()), "")


def _product_lines(item: Item) -> list[str]:
    lines = [f"{item['sku']} of {item['supplier']}: {item['status']}, changed {item['updatedAt']}"]
    lines += [f"  name.{language}: {name}" for language, name in item["name"].items()]
    lines += [f"  {member}: {item[member]}" for member in ("brand", "category", "countryOfOrigin") if item.get(member)]
    for variant in item["variants"]:
        lines += _variant_lines({**variant, "supplier": ""})
    return lines


def _variant_lines(variant: Item) -> list[str]:
    lines = [f"  {_variant_line(variant)}"]
    for (region, kind), tiers in groupby(variant["prices"], key=lambda tier: (tier["region"], tier["kind"])):
        lines.append(f"    {kind} {region}: {', '.join(map(_tier, tiers))}")
    lines += [f"    {picture['role']} picture: {picture['url']}" for picture in variant["images"]]
    if positions := len(variant["imprintPositions"]):
        lines.append(f"    {counted(positions, 'imprint position')}")
    return lines


def _tier(tier: Item) -> str:
    price = f"{tier['price']} {tier['currency'] or ''}".strip() if tier["price"] is not None else "on request"
    return f"from {tier['minQuantity']} {price if tier['onRequest'] or tier['price'] is not None else 'unreadable'}"
