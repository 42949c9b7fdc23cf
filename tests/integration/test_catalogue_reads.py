"""Variants by themselves, whole products in pages, chosen fields and two orders, after a real sync."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest
from sqlalchemy import Engine, event, text

from app.api.chosen_fields import OF_PRODUCT
from app.api.paging import Page
from app.views.products import ChosenOfProduct, ListedVariant, Product
from tests.support.api_client import ApiClient, api_client
from tests.support.stack import Servers, Stack, open_stack

KEYS = "reader:viewer:r-secret-of-16-chars,worker:operator:o-secret-of-16-chars"
WORKER = "o-secret-of-16-chars"


@pytest.fixture(scope="module")
async def synced(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack"), api_keys=KEYS) as stack:
        await stack.sync()
        yield stack


@pytest.fixture(scope="module")
async def api(synced: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(synced.settings, WORKER) as client:
        yield client


@pytest.fixture(scope="module")
async def products(api: ApiClient) -> list[dict[str, Any]]:
    """Every product, read one by one."""
    listed = await api.all_pages("/products", limit=500)
    return [await api.get(f"/products/{item['sku']}", supplier=item["supplier"]) for item in listed]


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL that this process sends meanwhile, by SQLAlchemy and past it."""
    sent: list[str] = []
    fetch = asyncpg.Connection.fetch

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    def fetched(self: asyncpg.Connection, query: str, *values: Any, **options: Any) -> Any:
        sent.append(query)
        return fetch(self, query, *values, **options)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with patch.object(asyncpg.Connection, "fetch", fetched):
            yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def variants_of(products: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [{**variant, "supplier": product["supplier"]} for product in products for variant in product["variants"]]
    return sorted(found, key=lambda variant: (variant["sku"], variant["supplier"]))


async def test_variants_are_listed_as_in_their_products(api: ApiClient, products: list[dict[str, Any]]) -> None:
    page = await api.get("/variants", limit=2)
    assert Page[ListedVariant].model_validate(page).model_dump(mode="json", by_alias=True) == page
    assert await api.all_pages("/variants", limit=5) == variants_of(products)


async def test_variants_are_found_by_what_a_shop_knows(api: ApiClient, products: list[dict[str, Any]]) -> None:
    everything = variants_of(products)
    one = next(variant for variant in everything if variant["ean"])
    by = {
        "ean": one["ean"],
        "sku": one["sku"],
        "supplier": one["supplier"],
        "productSku": one["productSku"],
        "status": "active",
    }
    for name, value in by.items():
        field = {"productSku": "productSku"}.get(name, name)
        assert await api.all_pages("/variants", limit=50, **{name: value}) == [
            variant for variant in everything if variant[field] == value
        ]
    assert await api.all_pages("/variants", **by) == [one]
    assert await api.all_pages("/variants", status="discontinued") == []
    assert await api.all_pages("/variants", limit=50, updatedSince="2020-01-01T00:00:00Z") == everything
    assert await api.all_pages("/variants", updatedSince="2099-01-01T00:00:00Z") == []
    for beginning in (one["ean"], one["ean"][:-1], one["sku"]):
        assert one["productSku"] in {item["sku"] for item in await api.all_pages("/products", q=beginning)}


async def test_one_variant_is_had_by_its_sku(api: ApiClient, synced: Stack, products: list[dict[str, Any]]) -> None:
    one, other = variants_of(products)[:2]
    assert await api.get(f"/variants/{one['sku']}") == one
    assert await api.get(f"/variants/{one['sku']}", supplier=one["supplier"]) == one
    await api.problem("GET", f"/variants/{one['sku']}-none", 404)
    await api.problem("GET", f"/variants/{one['sku']}", 404, params={"supplier": "nobody"})
    suppliers = [row["code"] for row in await synced.rows("SELECT code FROM suppliers ORDER BY code")]
    copy = """INSERT INTO variants (supplier_id, sku, product_id, status, position, is_primary, content, content_digest,
        prices_digest, imprint_digest, pictures_digest) SELECT s.id, :sku, p.id, 'active', 99, false, v.content, '',
        '', '', '' FROM variants v, suppliers s JOIN products p ON p.supplier_id = s.id
        WHERE v.sku = :sku AND s.id <> v.supplier_id ORDER BY p.id LIMIT 1"""
    async with synced.services.database.begin() as db:
        await db.execute(text(copy), {"sku": other["sku"]})
    try:
        problem = await api.problem("GET", f"/variants/{other['sku']}", 409)
        assert problem["suppliers"] == suppliers
        assert await api.get(f"/variants/{other['sku']}", supplier=other["supplier"]) == other
        assert [item["supplier"] for item in await api.all_pages("/variants", sku=other["sku"], limit=1)] == suppliers
    finally:
        async with synced.services.database.begin() as db:
            await db.execute(text("DELETE FROM variants WHERE sku = :sku AND position = 99"), {"sku": other["sku"]})


async def test_whole_products_come_in_pages_with_as_many_statements_for_any_number(
    api: ApiClient, products: list[dict[str, Any]]
) -> None:
    numbers = []
    for limit in (1, 5):
        with statements() as sent:
            page = await api.get("/products", expand="variants", limit=limit)
        assert page["items"] == products[:limit]
        numbers.append(len(sent))
    assert numbers[0] == numbers[1] <= 5
    assert Page[Product].model_validate(page).model_dump(mode="json", by_alias=True) == page
    assert await api.all_pages("/products", expand="variants", limit=3) == products


async def test_what_nobody_asked_for_before_costs_two_statements(synced: Stack, products: list[dict[str, Any]]) -> None:
    """A look at its version, and one that reads it with its key; in forms with parts of it, too."""
    product, variant = f"/products/{products[1]['sku']}", f"/variants/{products[1]['variants'][0]['sku']}"
    async with api_client(synced.settings, WORKER) as unasked:
        for path, params in (
            (product, {}),
            (product, {"fields": "sku,name"}),
            (product, {"fields": "name,variants.sku"}),
            (variant, {}),
        ):
            with statements() as sent:
                assert (await unasked.http.get(f"/api/v1{path}", params=params)).status_code == 200
            assert len([statement for statement in sent if "products p" in statement]) == 2, sent


async def test_what_was_built_before_costs_one_look_at_its_version(
    api: ApiClient, products: list[dict[str, Any]]
) -> None:
    """In each coding and form by itself; a caller who takes no coding is not given one."""
    for path in (f"/products/{products[0]['sku']}", f"/variants/{products[0]['variants'][0]['sku']}"):
        for coding, params in (("gzip", {}), ("zstd", {}), ("identity", {}), ("gzip", {"supplier": "A23"})):
            headers = {"Accept-Encoding": coding}
            first = await api.http.get(f"/api/v1{path}", params=params, headers=headers)
            with statements() as sent:
                again = await api.http.get(f"/api/v1{path}", params=params, headers=headers)
            assert len(sent) == 1
            assert again.content == first.content
            assert again.headers.items() - {("date", again.headers["date"])} <= set(first.headers.items())
            assert again.headers.get("content-encoding", "identity") == coding
            assert "Accept-Encoding" in again.headers["vary"]
    page = await api.get("/products", expand="variants", limit=2)
    with statements() as sent:
        assert await api.get("/products", expand="variants", limit=2) == page
    assert not any("FROM variants" in statement for statement in sent)


async def test_each_field_by_itself_is_what_the_whole_has(api: ApiClient, products: list[dict[str, Any]]) -> None:
    """In a page and as lines."""
    for name in OF_PRODUCT:
        member, _, of_variants = name.partition(".")
        expected = [
            {member: [_only(item, of_variants) for item in product["variants"]]}
            if of_variants
            else _only(product, member)
            for product in products
        ]
        assert (await api.get("/products", fields=name, limit=500))["items"] == expected, name
        lines = (await api.http.get("/api/v1/products", params={"fields": name}, headers=NDJSON)).text.splitlines()
        assert [json.loads(line) for line in lines] == expected, name


def _only(whole: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: whole[name]} if name in whole else {}


async def test_fields_choose_what_an_answer_has(api: ApiClient, products: list[dict[str, Any]]) -> None:
    chosen = [
        {
            "sku": product["sku"],
            "name": product["name"],
            "variants": [{"prices": item["prices"], "ean": item["ean"]} for item in product["variants"]],
        }
        for product in products
    ]
    fields = "sku,name,variants.prices, variants.ean"
    for expand in ({}, {"expand": "variants"}):
        assert await api.all_pages("/products", fields=fields, limit=4, **expand) == chosen
    one = await api.get(f"/products/{products[0]['sku']}", fields=fields)
    assert one == chosen[0]
    assert ChosenOfProduct.model_validate(one).model_dump(mode="json", by_alias=True, exclude_unset=True) == one
    lines = (await api.http.get("/api/v1/products", params={"fields": fields}, headers=NDJSON)).text.splitlines()
    assert [json.loads(line) for line in lines] == chosen
    counted = await api.all_pages("/products", fields="variantCount,sku")
    assert counted == [{"sku": item["sku"], "variantCount": len(item["variants"])} for item in products]
    assert (await api.get("/products", fields="variants", limit=1))["items"] == [{"variants": products[0]["variants"]}]


NDJSON = {"Accept": "application/x-ndjson"}


@pytest.mark.parametrize(
    ("path", "headers"), [("/products", {}), ("/products/x", {}), ("/products", NDJSON)], ids=["list", "one", "lines"]
)
@pytest.mark.parametrize("name", ["colour", "variants.colour", "prices", "variants.", "", "name.nl", "variants.x.y"])
async def test_a_field_that_there_is_not_is_named(
    api: ApiClient, path: str, headers: dict[str, str], name: str
) -> None:
    problem = await api.problem("GET", path, 422, params={"fields": f"sku,{name}"}, headers=headers)
    (error,) = problem["errors"]
    assert error["field"] == "fields"
    assert f"there is no '{name}'" in error["message"]
    assert "variants.prices" in error["message"]


async def test_what_no_field_names_is_not_read(api: ApiClient) -> None:
    with statements() as sent:
        await api.get("/products", fields="sku,name")
    assert not any("variants v" in statement or "shown_pictures" in statement for statement in sent)
    with statements() as sent:
        await api.get("/products", fields="sku,variants.sku,variants.ean")
    assert not any(table in statement for statement in sent for table in ("packed", "shown_pictures", "tiers"))


async def test_products_are_sorted_by_sku_or_by_when_they_changed(
    api: ApiClient, products: list[dict[str, Any]]
) -> None:
    by_time = sorted(products, key=lambda product: (product["updatedAt"], product["sku"]))
    for limit in (1, 3):
        found = await api.all_pages("/products", sort="updatedAt", limit=limit)
        assert [item["sku"] for item in found] == [product["sku"] for product in by_time]
    lists = ("/products", "/products?sort=updatedAt", "/variants")
    cursors = {
        path: (await api.http.get(f"/api/v1{path}{'&' if '?' in path else '?'}limit=1")).json() for path in lists
    }
    for of, path in itertools.product(lists, lists):
        mark = "&" if "?" in path else "?"
        answer = await api.http.get(f"/api/v1{path}{mark}cursor={cursors[of]['nextCursor']}")
        assert answer.status_code == (200 if of == path else 422), (of, path)
    await api.problem("GET", "/products", 422, params={"sort": "name"})


async def test_a_viewer_sees_no_buying_price_in_any_form(synced: Stack, products: list[dict[str, Any]]) -> None:
    assert '"buying"' in json.dumps(products)
    async with api_client(synced.settings, "r-secret-of-16-chars") as viewer:
        answers = [
            await viewer.http.get(f"/api/v1{path}", headers=headers)
            for path, headers in (
                ("/products?expand=variants", {}),
                ("/products?fields=variants.prices,variants.imprintPositions", {}),
                ("/products", NDJSON),
                ("/variants", {}),
                (f"/variants/{products[0]['variants'][0]['sku']}", {}),
            )
        ]
        for answer in answers:
            assert '"selling"' in answer.text
            assert "buying" not in answer.text.lower()
