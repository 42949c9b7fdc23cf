"""What every call meets first: keys and roles, the local door, body sizes, problem documents, health, figures."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app import main
from app.cli.doctor import examine
from app.cli.embedded import start_valkey
from app.errors import SettingsError
from app.settings import Settings
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


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "//nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/suppliers/", 404),
        ("PUT", "/runs", 405),
        ("DELETE", "/sync", 405),
        ("GET", "/runs?limit=0", 422),
        ("GET", "/runs?limit=501", 422),
        ("GET", "/runs?limit=many", 422),
        ("GET", "/runs?status=odd", 422),
        ("GET", "/runs?supplier=a%00", 422),
        ("GET", "/runs/not-a-run", 404),
        ("GET", "/runs/5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8", 404),
        ("GET", "/runs/5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8/problems", 404),
        ("POST", "/runs/5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8/cancel", 404),
        ("POST", "/runs/5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8/confirm-removals", 404),
        ("GET", "/queues/nope/stats", 404),
        ("GET", "/queues/nope/jobs", 404),
        ("GET", "/queues/nope/jobs/1", 404),
        ("POST", "/queues/nope/pause", 404),
        ("POST", "/queues/nope/retry-failed", 404),
        ("POST", "/queues/image-upload/jobs/1/retry", 404),
        ("POST", "/queues/image-upload/jobs/1/cancel", 404),
        ("DELETE", "/queues/image-upload/jobs/1", 404),
        ("GET", "/queues/image-upload/jobs?state=odd", 422),
        ("GET", "/queues/image-upload/jobs?runId=odd", 422),
        ("GET", "/products?updatedSince=yesterday", 422),
        ("GET", "/products?updatedSince=20260105", 422),
        ("GET", "/variants?updatedSince=1767582000", 422),
        ("GET", "/audit?since=1767582000.5", 422),
        ("GET", "/audit?until=-1", 422),
        ("GET", "/products?updatedSince=2026-01-05T03:00:00 1:00", 422),
        ("GET", "/products?status=gone", 422),
    ],
)
async def test_errors_are_problem_documents(api: ApiClient, method: str, path: str, status: int) -> None:
    problem = await api.problem(method, path, status)
    assert ("errors" in problem) == (status == 422)


@pytest.mark.parametrize("path", ["/runs", "/products", "/suppliers", "/categories", "/queues/image-upload/jobs"])
@pytest.mark.parametrize("cursor", ["x", "%00", "e30", "WyJ4IiwxXQ", "ÿ", "WyJ0Iiw5OTk5OTk5OTk5OTk5OTk5OTk5OTksIngiXQ"])
async def test_a_garbled_cursor_is_refused(api: ApiClient, path: str, cursor: str) -> None:
    problem = await api.problem("GET", f"{path}?cursor={cursor}", 422)
    assert [error["field"] for error in problem["errors"]] == ["cursor"]


@pytest.mark.parametrize(("method", "verb"), [("GET", ""), ("POST", "/retry"), ("POST", "/cancel"), ("DELETE", "")])
@pytest.mark.parametrize(("queue", "job"), [("supplier-sync", "nothing"), ("supplier-sync", "a%2Fb"), ("nope", "1")])
async def test_an_unknown_job_is_not_found_and_says_so(
    api: ApiClient, method: str, verb: str, queue: str, job: str
) -> None:
    problem = await api.problem(method, f"/queues/{queue}/jobs/{job}{verb}", 404)
    assert (problem["found"], problem["queueName"], problem["jobId"]) == (False, queue, unquote(job))


@pytest.mark.parametrize("offset", ["Z", "%2B01:00", "+01:00", "+0100", "-01:00", ""])
async def test_a_time_may_have_any_offset_also_one_whose_plus_sign_was_not_encoded(api: ApiClient, offset: str) -> None:
    assert (await api.call("GET", f"/products?updatedSince=2026-01-05T03:00:00{offset}"))["items"] == []


@pytest.mark.parametrize("time", ["2026-01-05 03:00", "2026-01-05 03:00:00", "2026-01-05 03:00:00+01:00", "2026-01-05"])
async def test_a_blank_between_date_and_time_is_no_plus_sign(api: ApiClient, time: str) -> None:
    assert (await api.call("GET", f"/products?updatedSince={time}"))["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "options", "said"),
    [
        ("GET", "/products?q=a%00", {}, ("q", "should not hold NUL characters")),
        ("GET", "/products?updatedSince=5", {}, ("updatedSince", "should be a time such as 2026-01-05T03:00:00Z")),
        ("POST", "/sync", {"json": {"skus": ["a"]}}, ("skus", "names families of one supplier: give supplierId too")),
        (
            "POST",
            "/sync",
            {"json": {"supplier": "A23"}},
            ("supplier", "is not known here; possible: supplierId, useQueue, dryRun, force, skus"),
        ),
        (
            "PATCH",
            "/suppliers/A23",
            {"json": {"code": "B1"}},
            ("code", "is not known here; possible: name, isActive, schedule, timeZone, removalGuardShare"),
        ),
        (
            "POST",
            "/sync",
            {"headers": {"Idempotency-Key": ""}},
            ("Idempotency-Key", "String should have at least 1 character"),
        ),
    ],
)
async def test_a_field_is_refused_in_words_that_say_what_is_possible(
    api: ApiClient, method: str, path: str, options: dict[str, Any], said: tuple[str, str]
) -> None:
    problem = await api.problem(method, path, 422, **options)
    assert [(error["field"], error["message"]) for error in problem["errors"]] == [said]
    assert problem["detail"] == ": ".join(said)


async def test_a_huge_body_is_refused_announced_or_not(api: ApiClient) -> None:
    huge = b'{"supplierId": "' + b"a" * 2_000_000 + b'"}'
    as_json = {"Content-Type": "application/json"}
    await api.problem("POST", "/sync", 413, content=huge, headers=as_json)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(huge), 100_000):
            yield huge[start : start + 100_000]

    await api.problem("POST", "/sync", 413, content=chunks(), headers=as_json)


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


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_can_be_asked_for_without_a_body(api: ApiClient, path: str) -> None:
    answer = await api.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


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


async def test_it_is_ready_once_every_part_has_answered(api: ApiClient) -> None:
    assert await api.get("//healthz") == {"status": "ok"}
    assert await api.get("//readyz") == {"database": "up", "redis": "up", "storage": "up"}


async def test_it_is_not_ready_before_redis_has_answered_and_says_which_part(make_stack: MakeStack) -> None:
    async with make_stack() as stack:
        settings = Settings.model_validate({**stack.settings.model_dump(), "redis_url": "redis://127.0.0.1:1/0"})
        async with api_client(settings) as api:
            problem = await api.problem("GET", "//readyz", 503)
            assert {name: problem[name] for name in ("database", "redis", "storage")} == {
                "database": "up",
                "redis": "down",
                "storage": "up",
            }
            await api.problem("POST", "/sync", 503)
            await api.problem("GET", "/workers", 503)
            assert (await api.get("/runs"))["items"] == []
            assert (await api.get("/products"))["items"] == []


async def test_without_a_database_it_is_alive_and_not_ready(make_stack: MakeStack) -> None:
    async with make_stack() as stack:
        url = "postgresql://u:p@127.0.0.1:1/promidata"
        settings = Settings.model_validate({**stack.settings.model_dump(), "database_url": url})
        async with api_client(settings) as api:
            assert await api.get("//healthz") == {"status": "ok"}
            assert (await api.problem("GET", "//readyz", 503))["database"] == "down"
            for path in ("/runs", "/products", "/queues/stats", "/queues/image-upload/jobs/1"):
                problem = await api.problem("GET", path, 503)
                assert "127.0.0.1:1" in problem["detail"]
                assert "p@" not in problem["detail"]
            await api.problem("POST", "/sync", 503)
            assert "promidata_database_up 0.0" in (await api.http.get("/metrics")).text


async def test_once_ready_it_stays_so_without_redis(make_stack: MakeStack, tmp_path: Path) -> None:
    """CASES.md C4: readiness must not take reading down with Redis."""
    with start_valkey(tmp_path / "own", say=lambda _: None) as valkey:
        async with make_stack(redis_url=valkey.url) as stack, api_client(stack.settings) as api:
            assert await api.get("//readyz") == {"database": "up", "redis": "up", "storage": "up"}
            valkey.stop(discard=True)
            assert await api.get("//readyz") == {"database": "up", "redis": "down", "storage": "up"}
            assert (await api.get("/products"))["items"] == []
            await api.problem("POST", "/sync", 503)
            assert (await api.get("/runs"))["items"] == []


async def test_a_database_that_refuses_writes_is_down(make_stack: MakeStack) -> None:
    async with make_stack() as stack, api_client(stack.settings) as api:
        await api.get("//readyz")
        name = str(await stack.value("SELECT current_database()"))
        async with stack.services.database.begin() as db:
            await db.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        async with api_client(stack.settings) as later:
            problem = await later.problem("GET", "//readyz", 503)
            assert (problem["database"], problem["redis"]) == ("down", "up")
            assert (await later.get("/products"))["items"] == []
            await later.problem("POST", "/sync", 503)


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


async def test_the_service_ends_when_it_is_asked_to(stack: Stack) -> None:
    async with asyncio.timeout(10):
        async with serve(stack.settings):
            pass


async def test_the_description_is_valid_openapi(api: ApiClient) -> None:
    # its import reads a grammar for seven seconds, which every process that collects this file would spend
    from openapi_spec_validator import OpenAPIV31SpecValidator  # noqa: PLC0415

    description = await api.get("//openapi.json")
    assert description["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(description).iter_errors()] == []


async def test_every_operation_is_described(api: ApiClient) -> None:
    description = await api.get("//openapi.json")
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["operationId"], where
            assert operation["summary"], where
            if not path.startswith("/api/"):
                continue
            statuses = set(operation["responses"])
            assert statuses >= {"401", "503"}, where
            assert method == "get" or "403" in statuses, where
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


WITHOUT_A_RIGHT = """
CREATE ROLE reader LOGIN PASSWORD 'reader';
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO reader;
REVOKE INSERT ON jobs FROM reader
"""
FULL = """
CREATE FUNCTION full_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'could not extend file: No space left on device'; END $$;
CREATE TRIGGER full_up BEFORE INSERT ON idempotency_keys EXECUTE FUNCTION full_up();
CREATE TRIGGER full_up BEFORE INSERT ON runs EXECUTE FUNCTION full_up()
"""


@pytest.mark.parametrize(
    ("trouble", "user", "said"),
    [
        (WITHOUT_A_RIGHT, "reader:reader", "does not let reader read and write jobs: GRANT SELECT, INSERT"),
        (FULL, None, "its disk is full: make room there"),
    ],
)
async def test_a_database_that_refuses_writes_for_whatever_reason_is_down_and_says_why(
    stack: Stack, trouble: str, user: str | None, said: str
) -> None:
    assert stack.settings.database_url is not None
    url = stack.settings.database_url.get_secret_value()
    parts = urlsplit(url)
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute(trouble)
        theirs = url if user is None else urlunsplit(parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}"))
        settings = stack.settings.model_copy(update={"database_url": SecretStr(theirs)})
        async with api_client(settings) as api:
            problem = await api.problem("GET", "//readyz", 503)
            assert (problem["database"], problem["redis"]) == ("down", "up")
            assert said in problem["detail"]
            refused = await api.problem("POST", "/sync", 503, json={"useQueue": False})
            assert any(words in refused["detail"] for words in ("permission denied for table jobs", said))
            assert (await api.get("/products"))["items"] == []
        doctor = [finding for finding in await examine(settings) if not finding.ok]
        assert any(said in finding.found for finding in doctor), doctor
    finally:
        if user is not None:
            await connection.execute("DROP OWNED BY reader; DROP ROLE reader")
        await connection.close()


async def test_looking_whether_writes_are_taken_leaves_nothing(api: ApiClient, stack: Stack) -> None:
    await api.get("//readyz")
    assert await stack.value("SELECT count(*) FROM idempotency_keys") == 0
