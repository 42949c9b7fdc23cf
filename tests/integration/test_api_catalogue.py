"""Products, changes, categories and suppliers as they are read over HTTP, after a real sync of the sample feed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
from sqlalchemy import text

from app.api.paging import Page
from app.persistence import product_search
from app.persistence.changes import Change, add_changes, number_changes
from app.persistence.packing import unpack_json
from app.views.changes import ChangePage, HistoryEntry
from app.views.products import ListedProduct, Product
from tests.conftest import MakeStack
from tests.support.api_client import ApiClient, api_client
from tests.support.stack import Servers, Stack, open_stack

KEYS = "reader:viewer:r-secret-of-16-chars,worker:operator:o-secret-of-16-chars,boss:admin:a-secret-of-16-chars"


@pytest.fixture(scope="module")
async def synced(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A synced catalogue that tests only read."""
    async with open_synced(servers, tmp_path_factory) as stack:
        yield stack


@pytest.fixture(scope="module")
async def scratch(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Another one, that tests may add to."""
    async with open_synced(servers, tmp_path_factory) as stack:
        yield stack


@asynccontextmanager
async def open_synced(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as stack:
        await stack.sync()
        while await stack.value("SELECT count(*) FROM changes WHERE seq IS NULL"):
            async with stack.services.database.begin() as db:
                await number_changes(db)
        yield stack


@pytest.fixture(scope="module")
async def api(synced: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(synced.settings) as client:
        yield client


@pytest.fixture(scope="module")
async def scratch_api(scratch: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(scratch.settings) as client:
        yield client


async def test_products_are_listed_by_sku_with_counts_and_first_pictures(api: ApiClient, synced: Stack) -> None:
    products = await api.all_pages("/products")
    expected = await synced.rows("SELECT sku FROM products ORDER BY sku, supplier_id")
    assert [product["sku"] for product in products] == [row["sku"] for row in expected]
    for product in products:
        own = "SELECT count(*) FROM variants v JOIN products p ON p.id = v.product_id WHERE p.sku = :sku"
        assert product["variantCount"] == await synced.value(own, sku=product["sku"]) > 0
        assert product["primaryImageUrl"].startswith(f"{str(api.http.base_url).rstrip('/')}/media/")
        assert product["name"]
        assert product["updatedAt"].endswith("Z")
        assert "variants" not in product


async def test_one_product_has_everything_the_contract_names(api: ApiClient) -> None:
    (listed, *_) = (await api.get("/products"))["items"]
    product = await api.get(f"/products/{listed['sku']}")
    assert product.keys() >= {
        "sku", "supplier", "name", "description", "shortDescription", "brand", "category", "secondaryCategories",
        "countryOfOrigin", "attributes", "status", "updatedAt", "variants",
    }  # fmt: skip
    assert len(product["variants"]) == listed["variantCount"]
    assert [variant["isPrimary"] for variant in product["variants"]].count(True) == 1
    for variant in product["variants"]:
        assert variant.keys() >= {
            "sku", "productSku", "ean", "color", "hexColor", "size", "configuration", "weightGrams", "dimensionsMm",
            "prices", "imprintPositions", "images", "isPrimary", "status",
        }  # fmt: skip
        assert variant["productSku"] == product["sku"]
        assert {price["kind"] for price in variant["prices"]} == {"selling", "buying"}
        assert all(price["price"] is None or isinstance(price["price"], str) for price in variant["prices"])
        assert [image["position"] for image in variant["images"]] == list(range(len(variant["images"])))
        assert variant["images"][0]["role"] == "primary"
        assert variant["images"][0].keys() == {
            "role", "position", "url", "sha256", "width", "height", "contentType",
        }  # fmt: skip
    primary = next(variant for variant in product["variants"] if variant["isPrimary"])
    assert primary["images"][0]["url"] == listed["primaryImageUrl"]


async def test_answers_fit_the_models_that_openapi_shows(api: ApiClient) -> None:
    page = await api.get("/products")
    assert Page[ListedProduct].model_validate(page).model_dump(mode="json", by_alias=True) == page
    sku = page["items"][0]["sku"]
    product = await api.get(f"/products/{sku}")
    assert Product.model_validate(product).model_dump(mode="json", by_alias=True) == product
    history = await api.get(f"/products/{sku}/history")
    assert Page[HistoryEntry].model_validate(history).model_dump(mode="json", by_alias=True) == history
    changes = await api.get("/changes")
    assert ChangePage.model_validate(changes).model_dump(mode="json", by_alias=True) == changes


async def test_pictures_of_the_local_store_are_served_like_a_bucket_would(api: ApiClient) -> None:
    (product, *_) = (await api.get("/products"))["items"]
    url = product["primaryImageUrl"]
    whole = await api.http.get(url)
    assert whole.status_code == 200
    assert whole.headers["content-type"] in {"image/jpeg", "image/png"}
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in whole.headers["cache-control"]
    part = await api.http.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    again = await api.http.get(url, headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await api.http.head(url)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole.content)))
    for range_ in ("items=0-1", "bytes=", "bytes=x-y", "bytes=5-2", "nonsense"):
        ignored = await api.http.get(url, headers={"Range": range_})
        assert (ignored.status_code, ignored.content) == (200, whole.content), range_
    size = len(whole.content)
    beyond = await api.http.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert beyond.headers["content-type"] == "application/problem+json"
    for key in ("aa/bb/" + "a" * 64 + ".jpg", "..%2F..%2Fetc%2Fpasswd", ".incoming/x"):
        await api.problem("GET", f"//media/{key}", 404)


@pytest.mark.parametrize("many", [1, product_search.MANY])
async def test_words_of_names_and_beginnings_of_skus_are_found(
    api: ApiClient, synced: Stack, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """Whether they count as common or not."""
    monkeypatch.setattr(product_search, "MANY", many)
    product, other = (await api.get("/products"))["items"][:2]
    word = product["name"]["nl"].split()[0]
    found = await api.all_pages("/products", q=word.upper())
    assert product["sku"] in {item["sku"] for item in found}
    for item in found:
        assert word.lower() in json.dumps(item["name"], ensure_ascii=False).lower()
    by_sku = await api.get("/products", q=product["sku"].lower())
    assert product["sku"] in {item["sku"] for item in by_sku["items"]}
    assert other["sku"] not in {item["sku"] for item in by_sku["items"]}
    variant = (await api.get(f"/products/{product['sku']}"))["variants"][1]["sku"]
    assert [item["sku"] for item in (await api.get("/products", q=variant))["items"]] == [product["sku"]]
    assert (await api.get("/products", q="...%_"))["items"] == []


async def test_products_are_filtered_by_supplier_status_category_and_time(api: ApiClient, synced: Stack) -> None:
    everything = await api.all_pages("/products")
    (product, *_) = everything
    mine = await api.all_pages("/products", supplier=product["supplier"])
    assert {item["supplier"] for item in mine} == {product["supplier"]}
    document_id = await synced.value("SELECT document_id FROM suppliers WHERE code = :code", code=product["supplier"])
    assert await api.all_pages("/products", supplier=document_id) == mine
    assert await api.all_pages("/products", status="active") == everything
    assert await api.all_pages("/products", status="discontinued") == []
    above = product["category"].split("/")[0]
    below = await api.all_pages("/products", category=above)
    assert product["sku"] in {item["sku"] for item in below}
    assert all(item["category"].split("/")[0] == above for item in below)
    exactly = await api.all_pages("/products", category=product["category"])
    assert {item["category"] for item in exactly} == {product["category"]}
    assert await api.all_pages("/products", category=product["category"][:-1]) == []
    latest = max(item["updatedAt"] for item in everything)
    assert {item["updatedAt"] for item in await api.all_pages("/products", updatedSince=latest)} == {latest}
    for path in ("/products", "/variants"):
        assert "nobody" in (await api.problem("GET", path, 404, params={"supplier": "nobody"}))["detail"]


async def test_a_page_is_not_disturbed_by_what_is_inserted_meanwhile(scratch_api: ApiClient, scratch: Stack) -> None:
    first = await scratch_api.get("/products", limit=4)
    await insert_product(scratch, "000-before-all")
    second = await scratch_api.get("/products", limit=4, cursor=first["nextCursor"])
    skus = [item["sku"] for item in first["items"] + second["items"]]
    assert len(skus) == len(set(skus)) == 8
    assert skus == sorted(skus)


async def insert_product(stack: Stack, sku: str, supplier: str = "A23") -> None:
    async with stack.services.database.begin() as db:
        await db.execute(
            text("""
            INSERT INTO products (supplier_id, sku, status, content, content_digest, applied_version)
            SELECT s.id, :sku, 'active', (SELECT content FROM products LIMIT 1), '', 1
            FROM suppliers s WHERE code = :supplier"""),
            {"sku": sku, "supplier": supplier},
        )


@pytest.mark.parametrize(
    "sku", ["A/B", "A/history", "100% wool", "a+b", "ä ß", "x%2Fy", "A/B/explain", "dot/../dot", "/"]
)
async def test_a_sku_may_hold_any_character(scratch_api: ApiClient, scratch: Stack, sku: str) -> None:
    await insert_product(scratch, sku)
    encoded = quote(sku, safe="")
    assert (await scratch_api.get(f"/products/{encoded}"))["sku"] == sku
    assert (await scratch_api.get(f"/products/{encoded}/history"))["items"] == []
    assert (await scratch_api.get(f"/products/{encoded}/explain"))["sku"] == sku


async def test_a_slash_that_was_not_encoded_is_understood_too(scratch_api: ApiClient, scratch: Stack) -> None:
    await insert_product(scratch, "A23/1")
    assert (await scratch_api.get("/products/A23/1"))["sku"] == "A23/1"
    assert (await scratch_api.get("/products/A23/1/history"))["items"] == []


async def test_a_sku_of_two_suppliers_has_to_be_told_apart(scratch_api: ApiClient, scratch: Stack) -> None:
    await insert_product(scratch, "twice", "A23")
    await insert_product(scratch, "twice", "A360")
    problem = await scratch_api.problem("GET", "/products/twice", 409)
    assert problem["suppliers"] == ["A23", "A360"]
    assert (await scratch_api.get("/products/twice", supplier="A360"))["supplier"] == "A360"
    await scratch_api.problem("GET", "/products/twice?supplier=A999", 404)
    await scratch_api.problem("GET", "/products/twice/history", 409)
    await scratch_api.problem("GET", "/products/nothing", 404)
    await scratch_api.problem("GET", "/products/nul%00", 404)


async def test_the_feed_of_changes_is_followed_to_its_head(api: ApiClient, synced: Stack) -> None:
    head = (await api.get("/changes"))["head"]
    seen = await api.all_pages("/changes", limit=7)
    assert [change["seq"] for change in seen] == list(range(1, head + 1))
    assert seen[0].keys() == {
        "seq", "kind", "entity", "sku", "productSku", "supplier", "fields", "runId", "at",
    }  # fmt: skip
    assert await api.get("/changes", since=head) == {"items": [], "nextCursor": None, "head": head}
    assert await api.get("/changes", since=3, limit=2) == await api.get("/changes", cursor=3, limit=2)
    assert await api.all_pages("/changes", limit=7, since=3) == seen[3:], "whoever pages may keep its first parameters"
    lines = await api.http.get("/api/v1/changes", params={"limit": 5}, headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    for accept, is_lines in (
        ("APPLICATION/X-NDJSON", True),
        ("application/x-ndjson, */*;q=0.8", True),
        ("application/x-ndjson;q=0", False),
        ("application/json, application/x-ndjson;q=0.1", False),
        ("application/x-ndjson;q=0.5, */*", False),
        ("application/*;q=0.9, application/x-ndjson;q=0.5", False),
        ("*/*, application/json;q=0.4, application/x-ndjson;q=0.5", True),
        ("*/*", False),
    ):
        answer = await api.http.get("/api/v1/changes", params={"limit": 1}, headers={"Accept": accept})
        assert answer.headers["content-type"].startswith("application/x-ndjson") is is_lines, accept
    assert [json.loads(line) for line in lines.text.splitlines()] == seen[:5]


async def test_a_follower_that_is_too_late_too_early_or_garbled_is_told(scratch_api: ApiClient, scratch: Stack) -> None:
    async with scratch.services.database.begin() as db:
        await db.execute(text("UPDATE change_head SET pruned_seq = 5"))
    gone = await scratch_api.problem("GET", "/changes?since=4", 410)
    assert gone["head"] == (await scratch_api.get("/changes", since=5))["head"]
    for since in ("99999999", "x", "-1", "1.5", "9" * 30):
        await scratch_api.problem("GET", f"/changes?since={since}", 422)
    restored = await scratch_api.problem("GET", "/changes?since=99999999", 422)
    assert (restored["head"], "list the products again" in restored["detail"]) == (gone["head"], True)
    assert [error["field"] for error in restored["errors"]] == ["since"]
    after_the_head = await scratch_api.problem("GET", "/changes?since=5&cursor=99999999", 422)
    assert [error["field"] for error in after_the_head["errors"]] == ["cursor"]
    await scratch_api.problem("GET", "/changes?since=5&cursor=4", 410)


async def test_history_has_old_and_new_values(scratch_api: ApiClient, scratch: Stack) -> None:
    (product, *_) = (await scratch_api.get("/products", q="A23-100000"))["items"]
    change = Change(
        "updated", "product", product["sku"], product["sku"], ("name.nl",), {"name.nl": "a"}, {"name.nl": "b"}
    )
    supplier_id = await scratch.value("SELECT id FROM suppliers WHERE code = 'A23'")
    async with scratch.services.database.begin() as db:
        await add_changes(db, supplier_id=supplier_id, run_id=None, changes=[change])
    history = await scratch_api.all_pages(f"/products/{product['sku']}/history")
    assert (history[0]["old"], history[0]["new"], history[0]["fields"]) == (
        {"name.nl": "a"},
        {"name.nl": "b"},
        ["name.nl"],
    )
    assert [entry["kind"] for entry in history].count("created") == 1 + product["variantCount"]


async def test_a_viewer_sees_no_buying_price_anywhere(make_stack: MakeStack) -> None:
    async with make_stack(api_keys=KEYS) as stack:
        await stack.sync()
        packed = await stack.rows("SELECT packed FROM imprint_positions")
        assert any("buying" in str(unpack_json(row["packed"])) for row in packed)
        async with api_client(stack.settings, "r-secret-of-16-chars") as viewer:
            for product in await viewer.all_pages("/products"):
                for part in ("", "/history"):
                    answer = json.dumps(await viewer.get(f"/products/{product['sku']}{part}"))
                    assert "buying" not in answer.lower()
        async with api_client(stack.settings, "o-secret-of-16-chars") as operator:
            assert '"buying"' in json.dumps(await operator.get(f"/products/{product['sku']}"))


async def test_explain_names_documents_hashes_and_runs(api: ApiClient, synced: Stack) -> None:
    (product, *_) = (await api.get("/products"))["items"]
    explained = await api.get(f"/products/{product['sku']}/explain")
    (document,) = explained["documents"]
    assert document["seenHash"] == document["appliedHash"] is not None
    assert (explained["lastRun"]["status"], explained["lastError"], explained["picturesPending"]) == (
        "completed",
        None,
        0,
    )


async def test_explain_also_knows_a_family_that_was_never_read(stack: Stack) -> None:
    broken = next(iter(stack.feed.entries("A23"))).path
    stack.server.faults.add(f"*{broken}", "status", status=404)
    await stack.sync("A23")
    sku = broken.rpartition("/")[2].removesuffix(".json")
    async with api_client(stack.settings) as api:
        await api.problem("GET", f"/products/{sku}", 404)
        explained = await api.get(f"/products/{sku}/explain")
    assert explained["status"] is None
    assert explained["lastError"]
    assert explained["documents"][0]["appliedHash"] is None


async def test_categories_have_names_by_language(api: ApiClient) -> None:
    categories = await api.all_pages("/categories")
    assert categories
    assert [item["key"] for item in categories] == sorted(item["key"] for item in categories)
    assert all(item["name"] for item in categories)


async def test_suppliers_show_their_last_run(api: ApiClient) -> None:
    suppliers = await api.all_pages("/suppliers", limit=1)
    assert [supplier["code"] for supplier in suppliers] == ["A23", "A360"]
    for supplier in suppliers:
        assert supplier.keys() >= {
            "documentId", "code", "name", "isActive", "schedule", "timeZone", "nextRunAt",
            "removalGuardShare", "lastRun",
        }  # fmt: skip
        assert supplier["lastRun"]["status"] == "completed"
        assert await api.get(f"/suppliers/{supplier['documentId']}") == supplier
        assert await api.get(f"/suppliers/{supplier['code']}") == supplier
