"""Who may come in: keys and roles, the local door; and what the service says of itself to whoever is in."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app import main
from app.errors import SettingsError
from tests.conftest import MakeStack
from tests.support.api_client import ApiClient, api_client, serve
from tests.support.plain_http import plain_client
from tests.support.stack import Servers, Stack, open_stack

KEYS = "reader:viewer:r-secret-of-16-chars,worker:operator:o:secret-of-16-chars,boss:admin:a-secret-of-16-chars"


@pytest.fixture(scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ApiClient]:
    """The service on an empty catalogue, without keys."""
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as stack, api_client(stack.settings) as client:
        yield client


async def test_keys_open_what_their_role_allows(make_stack: MakeStack) -> None:
    async with make_stack(api_keys=KEYS) as stack, api_client(stack.settings) as api:
        problem = await api.problem("GET", "/runs", 401)
        assert "key" in problem["detail"]
        await api.problem("GET", "/runs", 401, headers={"X-API-Key": "wrong"})
        await api.problem("GET", "/runs", 401, headers={"Authorization": "Basic cjpzZWNyZXQ="})
        viewer, operator, admin = (
            {"X-API-Key": key} for key in ("r-secret-of-16-chars", "o:secret-of-16-chars", "a-secret-of-16-chars")
        )
        for headers in (viewer, operator, admin, {"Authorization": "Bearer r-secret-of-16-chars"}):
            await api.call("GET", "/runs", headers=headers)
        await api.problem("POST", "/queues/image-upload/pause", 403, headers=viewer)
        await api.call("POST", "/queues/image-upload/pause", headers=operator)
        await api.problem("POST", "/suppliers", 403, json={"code": "A1"}, headers=operator)
        await api.call("POST", "/suppliers", 201, json={"code": "A1"}, headers=admin)
        await api.problem("POST", "/sync", 403, headers=viewer)
        for open_path in ("//healthz", "//readyz", "//openapi.json"):
            await api.call("GET", open_path)
        assert (await api.http.get("/docs")).status_code == 200
        assert (await api.http.get("/")).status_code == 200


async def test_a_stranger_learns_nothing_but_that_a_key_is_needed(make_stack: MakeStack) -> None:
    """Neither which things there are nor what is wrong with a request is told before the key is known."""
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/queues/nope/stats", {}),
        ("POST", "/queues/nope/pause", {}),
        ("GET", "/webhooks/nope", {}),
        ("GET", "/suppliers/nope", {}),
        ("GET", "/runs?limit=0", {}),
        ("GET", "/changes?since=x", {}),
        ("GET", "/events", {}),
        ("GET", "//metrics", {}),
        ("POST", "/sync", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        ("POST", "/suppliers", {"json": {"code": ""}}),
        ("POST", "/webhooks", {"json": []}),
    ]
    async with make_stack(api_keys=KEYS) as stack, serve(stack.settings) as url:
        async with plain_client(base_url=url) as http:
            for method, path, options in asked:
                await ApiClient(http).problem(method, path, 401, **options)
        async with plain_client(base_url=url, headers={"X-API-Key": "r-secret-of-16-chars"}) as http:
            for method, path, options in asked:
                if method == "POST" or "webhooks" in path:
                    headers = {**http.headers, **options.get("headers", {})}
                    await ApiClient(http).problem(method, path, 403, **{**options, "headers": headers})


async def test_the_documentation_needs_no_other_host(api: ApiClient) -> None:
    page = (await api.http.get("/docs")).text
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert len(addresses) == 4
    for address in addresses:
        assert address.startswith("/docs/")
        assert len((await api.http.get(address)).content) > 500
    assert 'data-openapi="/openapi.json"' in page
    await api.problem("GET", "//docs/redoc.standalone.js", 404)


async def test_with_keys_any_host_name_is_answered(make_stack: MakeStack) -> None:
    async with make_stack(api_keys=KEYS) as stack, api_client(stack.settings, "r-secret-of-16-chars") as api:
        await api.call("GET", "/runs", headers={"Host": "promi.example"})


@pytest.mark.parametrize("host", ["promi.example", "127.0.0.1.promi.example", "10.0.0.1:8000", "", "[::ffff:a00:1]"])
async def test_without_keys_a_foreign_host_name_is_refused(api: ApiClient, host: str) -> None:
    await api.problem("GET", "/runs", 403, headers={"Host": host})


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1234", "127.0.0.1", "127.1.2.3:80", "[::1]:8000", "LOCALHOST"]
)
async def test_without_keys_this_machine_is_answered(api: ApiClient, host: str) -> None:
    await api.call("GET", "/runs", headers={"Host": host})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_without_keys_other_sites_may_not_change_anything(api: ApiClient, headers: dict[str, str]) -> None:
    await api.problem("POST", "/queues/image-upload/pause", 403, headers=headers)
    await api.problem("DELETE", "/queues/image-upload/jobs/1", 403, headers=headers)
    assert (await api.get("/queues/image-upload/stats"))["paused"] is False


async def test_without_keys_our_own_pages_may(api: ApiClient) -> None:
    own = {"Origin": str(api.http.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert await api.post("/queues/image-upload/pause", headers=own) == {"queueName": "image-upload", "paused": True}


def test_without_keys_it_refuses_to_start_where_others_can_reach_it(stack: Stack) -> None:
    with pytest.raises(SettingsError, match="API_KEYS"):
        main.create_app(stack.settings.model_copy(update={"host": "0.0.0.0"}))


def test_importing_the_application_reads_no_environment() -> None:
    with pytest.raises(AttributeError):
        _ = main.nothing


async def test_figures_name_routes_and_queues(api: ApiClient) -> None:
    await api.get("/suppliers/A23")
    await api.problem("GET", "//some/unknown/path", 404)
    figures = (await api.http.get("/metrics")).text
    assert 'promidata_jobs{queue="image-upload",state="waiting"} 0.0' in figures
    assert 'route="/api/v1/suppliers/{supplierId:segment}",status="200"' in figures
    assert "unknown/path" not in figures


async def test_the_feeds_base_address_is_shown_nowhere(stack: Stack) -> None:
    """It is a credential: runs, problems and explanations mask it."""
    secret = stack.settings.base_url.rstrip("/").rpartition("/")[2]
    assert len(secret) >= 12
    broken = next(iter(stack.feed.entries("A23"))).path
    stack.server.faults.add(f"*{broken}", "status", status=404)
    await stack.sync("A23")
    async with api_client(stack.settings) as api:
        (run, *_) = (await api.get("/runs"))["items"]
        (problem, *_) = (await api.get(f"/runs/{run['id']}/problems"))["items"]
        assert problem["url"].endswith(broken.rpartition("/")[2])
        sku = broken.rpartition("/")[2].removesuffix(".json")
        shown = [run, problem, await api.get(f"/products/{sku}/explain"), await api.get("/suppliers")]
    assert secret not in json.dumps(shown)


async def test_every_parameter_is_described(api: ApiClient) -> None:
    description = await api.get("//openapi.json")
    parameters = [
        (path, parameter)
        for path, operations in description["paths"].items()
        for operation in operations.values()
        for parameter in operation.get("parameters", [])
    ]
    assert len(parameters) > 80
    assert [(path, one["name"]) for path, one in parameters if not one.get("description")] == []


async def test_the_description_is_valid_openapi(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # a grammar of international addresses takes six seconds to read; OpenAPI 3.1's schema has no such format, nor we
    monkeypatch.setitem(sys.modules, "rfc3987_syntax", None)
    from openapi_spec_validator import OpenAPIV31SpecValidator  # noqa: PLC0415

    description = await api.get("//openapi.json")
    assert description["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(description).iter_errors()] == []


async def test_each_example_is_what_its_schema_describes(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rfc3987_syntax", None)
    from openapi_schema_validator import OAS31Validator  # noqa: PLC0415

    description = await api.get("//openapi.json")
    components = {"components": description["components"]}
    seen, wrong = 0, []
    for where, schema, example in _examples(description, ""):
        seen += 1
        wrong += [f"{where}: {error.message}" for error in OAS31Validator(schema | components).iter_errors(example)]
    assert wrong == []
    assert seen > 300


async def test_an_example_has_nulls_of_its_own_shape_alone(api: ApiClient) -> None:
    """An answer of products has one of three; each lacks what only the others have."""
    listing = (await api.get("//openapi.json"))["paths"]["/api/v1/products"]["get"]["responses"]["200"]
    examples = listing["content"]["application/json"]["examples"]
    (whole,), (chosen,) = (examples[name]["value"]["items"]
                           for name in ("expand=variants", "fields=sku,name,variants.prices"))  # fmt: skip
    assert "primaryImageUrl" not in whole
    assert whole["variants"][0]["size"] is None
    assert (chosen.keys(), chosen["variants"][0].keys()) == ({"sku", "name", "variants"}, {"prices"})


def _examples(part: Any, where: str) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Where an example stands, the schema that it is of, and the example."""
    if isinstance(part, list):
        for number, item in enumerate(part):
            yield from _examples(item, f"{where}/{number}")
    if not isinstance(part, dict):
        return
    if isinstance(part.get("examples"), list):
        yield from ((where, {name: one for name, one in part.items() if name != "examples"}, one)
                    for one in part["examples"])  # fmt: skip
    if isinstance(part.get("schema"), dict):
        named = [example["value"] for example in part.get("examples", {}).values()]
        yield from ((where, part["schema"], one) for one in [*named, *(part[n] for n in ("example",) if n in part)])
    for name, item in part.items():
        if name not in {"example", "examples"}:
            yield from _examples(item, f"{where}/{name}")


async def test_a_body_of_changes_has_no_defaults(api: ApiClient) -> None:
    """A generated client sends them with every change, so it would change what nobody asked it to."""
    description = await api.get("//openapi.json")
    bodies = [operations["patch"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
              for operations in description["paths"].values() if "patch" in operations]  # fmt: skip
    assert bodies == ["SupplierChanges", "WebhookChanges"]
    members = [description["components"]["schemas"][body]["properties"].items() for body in bodies]
    assert [name for those in members for name, schema in those if "default" in schema] == []


async def test_a_body_that_may_be_left_out_is_no_choice_between_itself_and_null(api: ApiClient) -> None:
    """A generated client could not be called without it."""
    description = await api.get("//openapi.json")
    bodies = [operation["requestBody"] for operations in description["paths"].values()
              for operation in operations.values() if "requestBody" in operation]  # fmt: skip
    assert sum(not body.get("required", False) for body in bodies) == 1, "startSync's"
    assert [[*body["content"]["application/json"]["schema"]] for body in bodies] == [["$ref"]] * len(bodies)


async def test_every_operation_is_described(api: ApiClient) -> None:
    description = await api.get("//openapi.json")
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["operationId"], where
            assert operation["summary"], where
            statuses = set(operation["responses"])
            assert "403" in statuses, where  # without keys, to another Host
            if not path.startswith("/api/"):
                continue
            assert statuses >= {"401", "503"}, where
            for status in statuses - {"200", "201", "202", "304"}:
                assert operation["responses"][status]["content"]["application/problem+json"]["example"], where
            success = next(operation["responses"][status] for status in ("202", "201", "200") if status in statuses)
            shape = success["content"].get("text/event-stream") or success["content"]["application/json"]
            assert has_example(description, shape), where
    assert {"startSync", "getJobStatus", "getQueueStats"} <= {
        operation["operationId"] for operations in description["paths"].values() for operation in operations.values()
    }


def has_example(description: dict[str, Any], content: dict[str, Any]) -> bool:
    if "example" in content or "examples" in content:
        return True
    schema = content["schema"]
    if "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    parts = schema.get("properties", {}).values()
    return bool(schema.get("examples")) or (bool(parts) and all(has_example(description, {"schema": p}) for p in parts))
