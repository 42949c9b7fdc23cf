"""What holds for every route: HEAD, names of parameters, compression, conditional reads, origins of other sites."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from httpx import Response
from pydantic import SecretStr

from app.api.cross_origin import SHOWN
from tests.support.api_client import ApiClient, api_client
from tests.support.plain_http import plain_client
from tests.support.stack import Servers, Stack, open_stack

DESCRIBED = json.loads((Path(__file__).parents[2] / "openapi.json").read_text())
OPERATIONS = [(path, method) for path, methods in DESCRIBED["paths"].items() for method in methods]
SHOP = "https://shop.example"
KEY = "a-secret-of-16-chars"
_TIME = re.compile(r'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)([^"]*)"')
"""A time in a JSON text, and its offset."""


@pytest.fixture(scope="module")
async def synced(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A catalogue, and a shop's page that may read it."""
    keys: dict[str, Any] = {"api_keys": f"boss:admin:{KEY}", "cors_origins": f"{SHOP}/,http://localhost:3000"}
    async with open_stack(servers, tmp_path_factory.mktemp("stack"), **keys) as stack:
        await stack.sync()
        yield stack


@pytest.fixture(scope="module")
async def api(synced: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(synced.settings, KEY) as client:
        yield client


def _filled(path: str, method: str) -> str:
    """The path of an operation with the examples of its parameters."""
    for parameter in DESCRIBED["paths"][path][method].get("parameters", []):
        if parameter["in"] == "path":
            example = (parameter["schema"].get("examples") or parameter.get("examples") or ["x"])[0]
            path = path.replace(f"{{{parameter['name']}}}", str(example))
    return path


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_every_route_names_a_parameter_that_it_does_not_know(api: ApiClient, path: str, method: str) -> None:
    problem = await api.problem(method.upper(), f"/{_filled(path, method)}?statsu=1", 422)
    assert [error["field"] for error in problem["errors"]] == ["statsu"]
    declared = [p["name"] for p in DESCRIBED["paths"][path][method].get("parameters", []) if p["in"] == "query"]
    assert all(name in problem["errors"][0]["message"] for name in declared)


async def test_a_parameter_that_is_given_twice_is_named(api: ApiClient) -> None:
    problem = await api.problem("GET", "/runs?limit=1&limit=2", 422)
    assert problem["errors"] == [{"field": "limit", "message": "is there 2 times: give it once"}]


async def test_a_stranger_does_not_learn_what_parameters_there_are(api: ApiClient) -> None:
    problem = await api.problem("GET", "/runs?statsu=1", 401, headers={"X-API-Key": "wrong"})
    assert "statsu" not in json.dumps(problem)


@pytest.mark.parametrize("sku", ["x", "%00", "a%00b", "%2500"])
@pytest.mark.parametrize("path", ["/products/{}", "/products/{}/history", "/variants/{}", "/suppliers/{}", "/runs/{}"])
async def test_a_stranger_does_not_learn_what_there_is(api: ApiClient, path: str, sku: str) -> None:
    await api.problem("GET", path.format(sku), 401, headers={"X-API-Key": "wrong"})
    await api.problem("GET", path.format(sku), 404)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_the_description_names_a_parameter_that_it_does_not_know(api: ApiClient, path: str) -> None:
    problem = await api.problem("GET", f"/{path}?statsu=1", 422)
    assert problem["errors"] == [{"field": "statsu", "message": "is not known here, nor is any other"}]


@pytest.mark.parametrize("path", ["/?utm_source=mail", "/docs/docs.js?v=1"])
async def test_pages_and_their_files_pass_over_what_they_are_not_asked(api: ApiClient, path: str) -> None:
    assert (await api.http.get(path)).status_code == 200


async def _paths_of_get(api: ApiClient) -> list[str]:
    product = (await api.get("/products"))["items"][0]
    run = (await api.get("/runs"))["items"][0]["id"]
    known = {"sku": product["sku"], "runId": run, "supplierId": product["supplier"], "queueName": "image-upload"}
    paths = [path for path, method in OPERATIONS if method == "get"]
    filled = [path.format_map({**dict.fromkeys(("jobId", "webhookId"), "x"), **known}) for path in paths]
    return [*filled, "/", "/docs", "/docs/docs.js", "/openapi.json", product["primaryImageUrl"]]


async def test_head_is_answered_wherever_get_is_with_the_same_headers(api: ApiClient) -> None:
    for path in await _paths_of_get(api):
        head = await api.http.head(path)
        assert head.content == b""
        if path.endswith("/events"):
            assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            continue
        get = await api.http.get(path)
        assert (path, head.status_code) == (path, get.status_code)
        # what shows the moment differs from one call to the next; a form's cookie is set once
        passing = {"content-length", "set-cookie"} if path == "/" or path.endswith(("/metrics", "/workers")) else set()
        names = (set(get.headers) | set(head.headers)) - passing - {"date"}
        assert {name: head.headers.get(name) for name in names} == {name: get.headers.get(name) for name in names}


def _depends_on(answer: Response) -> set[str]:
    return {name.strip().lower() for name in answer.headers.get("vary", "").split(",")}


async def test_no_answer_that_depends_on_its_caller_is_kept_for_others(api: ApiClient) -> None:
    everybody = {"max-age=86400", "no-cache", "public, max-age=31536000, immutable"}
    for path in await _paths_of_get(api):
        answer = await api.http.head(path)
        kept = answer.headers["cache-control"]
        if "/docs/" in path or "/media/" in path:
            assert kept in everybody
            assert "authorization" not in _depends_on(answer)
            continue
        assert (path, kept) == (path, "private, no-cache" if "etag" in answer.headers else "no-store")
        assert {"accept", "authorization", "cookie", "x-api-key"} <= _depends_on(answer), path


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/v1/audit", {"X-API-Key": "of-nobody"}, 401),
        ("GET", "/api/v1/products/none", {}, 404),
        ("GET", "/media/none", {}, 404),
        ("PUT", "/api/v1/runs", {}, 405),
        ("POST", "/api/v1/suppliers", {}, 422),
        ("OPTIONS", "/api/v1/runs", {"Origin": SHOP, "Access-Control-Request-Method": "GET"}, 200),
        ("GET", "/suppliers", {"X-API-Key": "of-nobody", "Accept": "text/html"}, 303),
    ],
)
async def test_nor_is_an_error(api: ApiClient, method: str, path: str, headers: dict[str, str], status: int) -> None:
    answer = await api.http.request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["cache-control"] == "no-store"
    assert {"accept", "authorization", "cookie", "x-api-key"} <= _depends_on(answer)


@pytest.mark.parametrize(
    "asked",
    [{}, {"Accept": "application/x-ndjson"}, {"If-None-Match": "*"}, {"X-API-Key": "of-nobody"}],
    ids=["a page", "lines", "unchanged", "a stranger"],
)
async def test_headers_that_callers_may_need_are_described(api: ApiClient, asked: dict[str, str]) -> None:
    """Those that other sites' pages may read."""
    described = [DESCRIBED["paths"][path]["get"]["responses"] for path, method in OPERATIONS if method == "get"]
    for path, responses in zip(await _paths_of_get(api), described, strict=False):
        if path.endswith("/events"):
            continue
        answer = await api.http.get(path, headers=asked)
        headers = responses[str(answer.status_code)].get("headers", {})
        assert (path, [name for name in SHOWN if name in answer.headers and name not in headers]) == (path, [])


@pytest.mark.parametrize(
    ("path", "possible"),
    [
        ("/api/v1/runs", "GET, HEAD"),
        ("/api/v1/sync", "POST"),
        ("/api/v1/suppliers", "GET, HEAD, POST"),
        ("/api/v1/suppliers/A23", "GET, HEAD, PATCH"),
        ("/api/v1/queues/image-upload/jobs/a%2Fb", "DELETE, GET, HEAD"),
        ("/api/v1/webhooks", "GET, HEAD, POST"),
        ("/api/v1/webhooks/x", "DELETE, GET, HEAD, PATCH"),
        ("/docs", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/sign-in", "GET, HEAD, POST"),
    ],
)
async def test_a_method_that_is_not_possible_names_all_that_are(api: ApiClient, path: str, possible: str) -> None:
    answer = await api.http.put(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, possible)


async def test_head_is_not_possible_where_get_is_not(api: ApiClient) -> None:
    assert (await api.http.head("/api/v1/sync")).status_code == 405


@pytest.mark.parametrize("path", DESCRIBED["paths"])
async def test_what_is_described_is_among_what_is_possible(api: ApiClient, path: str) -> None:
    methods = {method.upper() for method in DESCRIBED["paths"][path]}
    answer = await api.http.put(f"/{_filled(path, min(methods).lower())}".replace("//", "/"))
    possible = set(answer.headers["allow"].split(", "))
    assert (answer.status_code, methods - possible, "HEAD" in possible) == (405, set(), "GET" in possible)


async def _raw(api: ApiClient, path: str, accept_encoding: str) -> Response:
    """An answer whose content is the bytes on the wire."""
    headers = {"Accept-Encoding": accept_encoding}
    async with api.http.stream("GET", path, headers=headers) as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    return Response(answer.status_code, headers=[h for h in answer.headers.items() if h[0] != "content-encoding"],
                    extensions={"coding": answer.headers.get("content-encoding")}, content=raw)  # fmt: skip


async def test_a_product_and_lists_of_it_go_out_compressed(api: ApiClient) -> None:
    sku = (await api.get("/products"))["items"][0]["sku"]
    for path in (
        f"/api/v1/products/{sku}",
        "/api/v1/products",
        "/api/v1/changes",
        "/openapi.json",
        "/docs/swagger-ui.css",
    ):
        plain = await _raw(api, path, "identity")
        packed = await _raw(api, path, "gzip, deflate, br")
        best = await _raw(api, path, "gzip, zstd")
        assert [answer.extensions["coding"] for answer in (plain, packed, best)] == [None, "gzip", "zstd"]
        assert gzip.decompress(packed.content) == plain.content
        assert zstandard.ZstdDecompressor().decompressobj().decompress(best.content) == plain.content
        for answer in (plain, packed, best):
            assert "accept-encoding" in answer.headers["vary"].lower()
            assert answer.headers.get("etag", "").removeprefix("W/") == plain.headers.get("etag", "").removeprefix("W/")


async def test_events_and_pictures_do_not(api: ApiClient) -> None:
    picture = (await api.get("/products"))["items"][0]["primaryImageUrl"]
    assert (await _raw(api, picture, "gzip, zstd")).extensions["coding"] is None
    async with api.http.stream("GET", "/api/v1/events", headers={"Accept-Encoding": "gzip, zstd"}) as events:
        assert "content-encoding" not in events.headers


@pytest.mark.parametrize("path", ["/runs?supplier=A999", "/queues/image-upload/jobs?supplier=A999"])
async def test_a_supplier_that_does_not_exist_is_not_found_as_a_filter(api: ApiClient, path: str) -> None:
    assert "A999" in (await api.problem("GET", path, 404))["detail"]
    await api.call("GET", path.replace("A999", "A23"))


async def _again(api: ApiClient, path: str, etag: str, **headers: str) -> int:
    answer = await api.http.get(f"/api/v1{path}", headers={"If-None-Match": etag, **headers})
    assert (answer.status_code == 304) == (answer.content == b"")
    assert "etag" in answer.headers
    assert "accept-encoding" in answer.headers["vary"].lower()
    return answer.status_code


async def _etag(api: ApiClient, path: str, **headers: str) -> str:
    return (await api.http.get(f"/api/v1{path}", headers=headers)).headers["etag"]


async def test_a_page_of_changes_is_not_read_again_until_the_head_moves(api: ApiClient, synced: Stack) -> None:
    head = (await api.get("/changes"))["head"]
    pages = ["/changes?limit=2", f"/changes?since={head}", f"/changes?since={head}&limit=2", "/changes?since=1"]
    tags = [await _etag(api, path) for path in pages]
    lines = await _etag(api, pages[0], Accept="application/x-ndjson")
    assert len({*tags, lines}) == len(pages) + 1
    assert [await _again(api, path, tag) for path, tag in zip(pages, tags, strict=True)] == [304] * len(pages)
    assert await _again(api, pages[0], lines, Accept="application/x-ndjson") == 304
    async with synced.services.database.begin() as db:
        await db.exec_driver_sql(
            """INSERT INTO changes (seq, kind, entity, sku, product_sku, supplier_id, fields, at)
            SELECT h.seq + 1, 'updated', 'product', 'x', 'x', s.id, '{brand}', clock_timestamp()
            FROM change_head h, (SELECT min(id) AS id FROM suppliers) s"""
        )
        await db.exec_driver_sql("UPDATE change_head SET seq = seq + 1")
    assert [await _again(api, path, tag) for path, tag in zip(pages, tags, strict=True)] == [200] * len(pages)


async def test_suppliers_are_not_read_again_until_one_of_them_differs(api: ApiClient) -> None:
    paths = ["/suppliers", "/suppliers?limit=1", "/suppliers/A360"]
    tags = [await _etag(api, path) for path in paths]
    assert len({*tags}) == len(paths)
    again = [await _again(api, path, f'"other", {tag}') for path, tag in zip(paths, tags, strict=True)]
    assert again == [304] * len(paths)
    await api.call("PATCH", "/suppliers/A360", json={"name": "Another name"})
    assert [await _again(api, path, tag) for path, tag in zip(paths, tags, strict=True)] == [200] * len(paths)


async def test_times_are_in_utc_whatever_time_zone_the_server_is_set_to(synced: Stack) -> None:
    assert synced.settings.database_url is not None
    url = synced.settings.database_url.get_secret_value()
    elsewhere = SecretStr(f"{url}?options=-ctimezone%3DAsia/Kolkata")
    async with api_client(synced.settings.model_copy(update={"database_url": elsewhere}), KEY) as api:
        run, sku = (await api.get("/runs"))["items"][0]["id"], (await api.get("/products"))["items"][0]["sku"]
        lists = ["/suppliers", "/runs", "/products", "/variants", "/changes", "/audit", "/categories"]
        ones = ["/suppliers/A23", f"/runs/{run}", f"/products/{sku}", f"/products/{sku}/history"]
        answers = {path: await api.get(path) for path in (*lists, *ones, f"/products/{sku}/explain")}
    times = {path: _TIME.findall(json.dumps(answer)) for path, answer in answers.items()}
    assert {path for path, found in times.items() if "lastRun" in answers[path] and not found} == set()
    assert {path: found for path, found in times.items() if {offset for _, offset in found} - {"Z"}} == {}


async def test_categories_are_not_read_again_until_one_of_them_differs(api: ApiClient, synced: Stack) -> None:
    tag = await _etag(api, "/categories")
    assert await _again(api, "/categories", tag) == 304
    async with synced.services.database.begin() as db:
        await db.exec_driver_sql("""UPDATE categories SET name = '{"nl": "Anders"}'""")
    assert await _again(api, "/categories", tag) == 200


async def test_pages_of_listed_origins_may_read_and_nobody_elses(api: ApiClient) -> None:
    for origin in (SHOP, "http://localhost:3000"):
        answer = await api.http.get("/api/v1/changes", headers={"Origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-credentials" not in answer.headers
        shown = answer.headers["access-control-expose-headers"]
        assert all(name in shown for name in ("ETag", "X-Changes-Head", "Retry-After", "X-Request-Id"))
        assert "origin" in answer.headers["vary"].lower()
    refused = await api.http.get("/api/v1/changes", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in refused.headers


async def test_a_browser_is_told_beforehand_what_a_listed_page_may_send(api: ApiClient) -> None:
    sent = "x-api-key,content-type,if-match,x-request-id"
    asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": sent}
    async with plain_client(base_url=api.http.base_url) as stranger:
        let_in = await stranger.options("/api/v1/suppliers/A23", headers={"Origin": SHOP, **asked})
        refused = await stranger.options("/api/v1/suppliers/A23", headers={"Origin": "https://evil.example", **asked})
    assert (let_in.status_code, let_in.headers["access-control-allow-origin"]) == (200, SHOP)
    assert "access-control-allow-origin" not in refused.headers
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
    assert (refused.json()["status"], refused.json()["detail"]) == (400, "Disallowed CORS origin")


async def test_errors_can_be_read_by_a_listed_page_too(api: ApiClient) -> None:
    headers: dict[str, Any] = {"Origin": SHOP, "X-API-Key": "wrong"}
    answer = await api.http.get("/api/v1/changes", headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, SHOP)
