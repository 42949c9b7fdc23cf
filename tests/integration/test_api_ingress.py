"""Behind an ingress: every address that is given out has the prefix, and only a trusted proxy is believed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.answer_headers import OF_PAGES
from app.settings import Settings
from tests.conftest import MakeStack
from tests.support import api_process
from tests.support.api_client import ApiClient, api_client, serve
from tests.support.command_line import environment_of
from tests.support.forked import start_call
from tests.support.plain_http import plain_client
from tests.support.prefix_proxy import prefix_proxy
from tests.support.s3_servers import free_port
from tests.support.stack import Servers, Stack, open_stack
from tests.support.waiting import eventually

PREFIX = "/shop/promi"
EVIL = [
    "//evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "/a/../b",
    "/a b",
    '/a"><script>',
    "/a%0d%0aX: y",
    "/" + "a" * 300,
    "/one, /two",
    "promi",
]


@pytest.fixture(scope="module")
async def synced(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A catalogue with pictures in a local store."""
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as stack:
        await stack.sync("A23")
        yield stack


def behind(stack: Stack, **given: Any) -> Settings:
    return Settings.model_validate({**stack.settings.model_dump(), **given})


async def addresses_given_out(http: httpx.AsyncClient, base: str) -> list[str]:
    """Every address in pages, description and catalogue."""
    found = []
    for page in ("/", "/docs"):
        found += re.findall(r"""(?:src|href|data-openapi)="([^"]+)""", (await http.get(base + page)).text)
    found += [server["url"] for server in (await http.get(f"{base}/openapi.json")).json().get("servers", [])]
    listed = (await http.get(f"{base}/api/v1/products")).json()["items"]
    found += [item["primaryImageUrl"] for item in listed]
    product = (await http.get(f"{base}/api/v1/products/{listed[0]['sku']}")).json()
    return found + [image["url"] for variant in product["variants"] for image in variant["images"]]


@pytest.mark.parametrize("strips", [True, False], ids=["stripping", "not-stripping"])
@pytest.mark.parametrize("tells", [True, False], ids=["header", "ROOT_PATH"])
async def test_every_address_that_is_given_out_has_the_prefix(synced: Stack, strips: bool, tells: bool) -> None:
    settings = behind(synced, forwarded_allow_ips="127.0.0.1", root_path="" if tells else PREFIX)
    async with (
        serve(settings) as upstream,
        prefix_proxy(upstream, PREFIX, strips=strips, tells=tells) as proxy,
        plain_client() as http,
    ):
        given = await addresses_given_out(http, proxy.url)
        assert len(given) > 20
        for address in set(given):
            assert address.startswith((PREFIX, proxy.url)), address
            if address != PREFIX:
                assert (await http.get(httpx.URL(proxy.origin).join(address))).status_code == 200, address
        missing = (await http.get(f"{proxy.url}/nothing")).json()
        assert missing["detail"] == f"there is nothing at {PREFIX}/nothing"
        assert (await http.get(proxy.url)).status_code == 200
        assert proxy.outside == []


@pytest.mark.parametrize("prefix", ["/api", "/media", "/docs"])
async def test_the_prefix_may_look_like_a_path_of_ours(synced: Stack, prefix: str) -> None:
    """All but one page that is called as the prefix is, behind a proxy that takes it off: that is the prefix's root."""
    settings = behind(synced, root_path=prefix)
    async with serve(settings) as upstream, plain_client() as http:
        for strips in (True, False):
            async with prefix_proxy(upstream, prefix, strips=strips, tells=False) as proxy:
                for path in ("/api/v1/runs", "/docs", "/", "", "/healthz"):
                    answer = await http.get(proxy.url + path)
                    assert answer.status_code == 200, (strips, path)
                    if path == "/docs":
                        hidden = strips and prefix == path
                        assert ("/openapi.json" in answer.text) is not hidden, strips


async def test_a_sku_with_a_slash_is_found_under_a_prefix(synced: Stack) -> None:
    async with api_client(behind(synced, root_path=PREFIX)) as api:
        for prefix in ("", PREFIX):
            for sku in ("A%2FB", "%E4"):
                problem = (await api.http.get(f"{prefix}/api/v1/products/{sku}/history")).json()
                assert problem["detail"].startswith("there is no product"), problem


@pytest.fixture(scope="module")
async def believing(synced: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(behind(synced, forwarded_allow_ips="*")) as client:
        yield client


@pytest.mark.parametrize("prefix", EVIL)
async def test_a_hostile_prefix_is_not_taken(believing: ApiClient, prefix: str) -> None:
    answer = await believing.http.get("/docs", headers={"X-Forwarded-Prefix": prefix})
    assert 'data-openapi="/openapi.json"' in answer.text
    described = await believing.http.get("/openapi.json", headers={"X-Forwarded-Prefix": prefix})
    assert "servers" not in described.json()


@pytest.mark.parametrize("trusted", [None, "10.9.8.7", "10.0.0.0/8"])
async def test_only_a_trusted_proxy_is_believed(synced: Stack, trusted: str | None) -> None:
    told = {
        "X-Forwarded-Prefix": PREFIX,
        "X-Forwarded-Host": "localhost:1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "10.9.8.7",
    }
    async with api_client(behind(synced, forwarded_allow_ips=trusted)) as api:
        base = str(api.http.base_url).rstrip("/")
        assert 'data-openapi="/openapi.json"' in (await api.http.get("/docs", headers=told)).text
        (item, *_) = (await api.http.get("/api/v1/products", headers=told)).json()["items"]
        assert item["primaryImageUrl"].startswith(f"{base}/media/")


async def test_a_setting_wins_over_the_header(synced: Stack) -> None:
    async with api_client(behind(synced, forwarded_allow_ips="*", root_path="/own")) as api:
        page = (await api.http.get("/docs", headers={"X-Forwarded-Prefix": PREFIX})).text
        assert 'data-openapi="/own/openapi.json"' in page


async def test_the_local_door_judges_the_visitor_that_the_proxy_names(synced: Stack) -> None:
    async with api_client(behind(synced, forwarded_allow_ips="127.0.0.1", root_path=PREFIX)) as api:
        await api.problem("GET", "/runs", 403, headers={"X-Forwarded-For": "203.0.113.5"})
        await api.problem("GET", "/runs", 403, headers={"X-Forwarded-Host": "promi.example"})
        await api.problem("GET", "/runs", 403, headers={"X-Forwarded-For": "203.0.113.5, 127.0.0.1"})
        own = {"X-Forwarded-Host": "localhost:4", "X-Forwarded-Proto": "http", "Origin": "http://localhost:4"}
        await api.post("/queues/image-upload/resume", headers=own)
        await api.problem("POST", "/queues/image-upload/pause", 403, headers={**own, "Origin": "http://localhost:5"})


@pytest.mark.parametrize(
    "word",
    [
        {"X-Forwarded-For": "127.0.0.1, 203.0.113.9"},
        {"X-Real-IP": "203.0.113.9"},
        {"Forwarded": 'for=127.0.0.1, for="[2001:db8::1]:4711";proto=https'},
        {"Forwarded": "for=unknown"},
    ],
)
async def test_without_keys_nobody_changes_anything_through_a_proxy_on_this_machine(
    synced: Stack, believing: ApiClient, word: dict[str, str]
) -> None:
    """What it appends is true; what stands before that may be the visitor's own word."""
    await believing.problem("GET", "/suppliers", 403, headers=word)
    async with api_client(behind(synced)) as api:
        await api.problem("POST", "/queues/image-upload/resume", 403, headers=word)
        assert (await api.http.get("/api/v1/suppliers", headers=word)).status_code == 200
        await api.post("/queues/image-upload/resume", headers={"X-Forwarded-For": "127.0.0.1:4711, [::1]"})


@pytest.fixture(scope="module")
async def stock(synced: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a stock uvicorn that trusts a proxy on 127.0.0.1 and has no prefix of its own."""
    given = environment_of(synced) | {"FORWARDED_ALLOW_IPS": "127.0.0.1"}
    async with stock_uvicorn(tmp_path_factory.mktemp("stock"), given) as upstream:
        yield upstream


async def test_stock_uvicorn_takes_a_strangers_word_for_nothing(stock: str) -> None:
    """Also of one that names its own address, so that the visitor looks like the peer."""
    told = {"X-Forwarded-Prefix": PREFIX, "X-Forwarded-For": "127.0.0.2"}
    stranger = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with plain_client(transport=stranger) as http:
        assert 'data-openapi="/openapi.json"' in (await http.get(f"{stock}/docs", headers=told)).text


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({"public_url": "https://shop.example"}, "https://shop.example"),
        ({"public_url": "https://shop.example/", "root_path": PREFIX}, f"https://shop.example{PREFIX}"),
        ({"public_url": "https://shop.example/promi", "root_path": "/promi"}, "https://shop.example/promi"),
    ],
)
async def test_pictures_are_where_public_url_says(synced: Stack, settings: dict[str, str], base: str) -> None:
    async with api_client(behind(synced, **settings)) as api:
        for item in (await api.get("/products"))["items"]:
            assert re.fullmatch(rf"{base}/media/../../[0-9a-f]{{64}}\.(jpg|png)", item["primaryImageUrl"])


async def test_pictures_are_where_the_caller_asks_unless_a_setting_says(synced: Stack) -> None:
    async with api_client(behind(synced)) as api:
        for host in ("localhost:123", "127.0.0.1"):
            (item, *_) = (await api.call("GET", "/products", headers={"Host": host}))["items"]
            assert item["primaryImageUrl"].startswith(f"http://{host}/media/")


async def test_a_bucket_has_addresses_of_its_own(make_stack: MakeStack) -> None:
    bucket = {
        "s3_bucket": "b",
        "s3_endpoint_url": "http://127.0.0.1:1",
        "s3_access_key_id": "id",
        "s3_secret_access_key": "secret",
        "s3_public_url": "https://pictures.example/",
    }
    async with make_stack() as stack:
        await stack.sync("A23")
        async with api_client(behind(stack, **bucket, root_path=PREFIX, public_url="https://shop.example")) as api:
            for item in (await api.get("/products"))["items"]:
                assert re.fullmatch(r"https://pictures\.example/../../[0-9a-f]{64}\.\w+", item["primaryImageUrl"])


@asynccontextmanager
async def stock_uvicorn(folder: Path, env: dict[str, str], *arguments: str) -> AsyncIterator[str]:
    """`uvicorn app.main:app`, as somebody else's process manager starts it, but forked; gives its address."""
    port, log = free_port(), folder / "uvicorn.log"
    given = [str(folder), "--port", str(port), *arguments]
    process = start_call(api_process.__name__, api_process.stock_api.__name__, given, env, log)
    url = f"http://127.0.0.1:{port}"

    async def ready() -> bool:
        assert process.is_alive(), log.read_text()
        with suppress(httpx.TransportError):
            return (await http.get(f"{url}/readyz")).status_code == 200
        return False

    try:
        async with plain_client() as http:
            await eventually(ready)
        yield url
    finally:
        process.terminate()
        await asyncio.to_thread(process.join)


@pytest.mark.parametrize("by", ["ROOT_PATH", "--root-path", "both"])
async def test_stock_uvicorn_serves_under_a_prefix_too(synced: Stack, tmp_path: Path, by: str) -> None:
    given = environment_of(synced) | {"FORWARDED_ALLOW_IPS": "127.0.0.1"}
    given |= {"ROOT_PATH": PREFIX} if by != "--root-path" else {}
    arguments = ["--root-path", PREFIX] if by != "ROOT_PATH" else []
    async with (
        stock_uvicorn(tmp_path, given, *arguments) as upstream,
        plain_client() as http,
    ):
        for strips in (True, False):
            async with prefix_proxy(upstream, PREFIX, strips=strips, tells=False) as proxy:
                for address in set(await addresses_given_out(http, proxy.url)):
                    assert address.startswith((PREFIX, proxy.url)), address


async def test_stock_uvicorn_believes_the_same_proxies(stock: str) -> None:
    """It puts the visitor in place of the proxy before the application sees the request."""
    async with (
        prefix_proxy(stock, PREFIX, strips=True, tells=True) as proxy,
        plain_client() as http,
    ):
        for address in set(await addresses_given_out(http, proxy.url)):
            assert address.startswith((PREFIX, proxy.url)), address


async def test_pages_may_run_and_be_framed_by_nothing_of_others(api: ApiClient) -> None:
    for path in ("/", "/docs"):
        answer = await api.http.get(path)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert {name: answer.headers[name] for name in OF_PAGES} == OF_PAGES
        assert answer.headers["x-frame-options"] == "DENY"
        assert "<style" not in answer.text
        assert re.findall(r"<script(?! src=)", answer.text) == []
        head = await api.http.head(path)
        assert (head.status_code, head.content, head.headers["content-security-policy"]) == (200, b"", policy)


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/docs/docs.js", "/docs/swagger-ui.css", "/openapi.json", "/healthz", "/metrics", "/nothing",
     "/api/v1/runs", "/api/v1/runs?limit=0", "/api/v1/products/%00", "/media/x"],
)  # fmt: skip
async def test_every_answer_forbids_guessing_its_type(api: ApiClient, path: str) -> None:
    assert (await api.http.get(path)).headers["x-content-type-options"] == "nosniff"
    refused = await api.http.get(path, headers={"Host": "evil.example"})
    assert (refused.status_code, refused.headers["x-content-type-options"]) == (403, "nosniff")


@pytest.fixture(scope="module")
async def api(synced: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(synced.settings) as client:
        yield client
