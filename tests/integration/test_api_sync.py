"""Starting syncs over HTTP: queued, direct, refused, repeated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.api import answer_in_time, idempotent
from app.errors import DatabaseUnavailable
from app.persistence import idempotency
from tests.conftest import MakeStack
from tests.support.api_client import ApiClient, api_client, serve
from tests.support.plain_http import plain_client
from tests.support.stack import Stack
from tests.support.waiting import eventually


@pytest.fixture
async def api(stack: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(stack.settings) as client:
        yield client


async def test_an_empty_call_enqueues_all_active_suppliers(api: ApiClient, stack: Stack) -> None:
    answer = await api.post("/sync", expect=202)
    assert answer.keys() == {"success", "mode", "suppliersEnqueued", "jobs", "message"}
    assert (answer["success"], answer["mode"], answer["suppliersEnqueued"]) == (True, "queued", 2)
    assert answer["message"] == "Sync jobs enqueued. Use getJobStatus() to track progress."
    assert [job["supplier"] for job in answer["jobs"]] == ["A23", "A360"]
    for job in answer["jobs"]:
        assert job.keys() == {"supplier", "jobId", "queueName", "status", "runId"}
        assert (job["queueName"], job["status"]) == ("supplier-sync", "enqueued")
        assert job["jobId"].startswith("supplier-sync-")
        assert job["jobId"].endswith(f"-{job['supplier']}")
    assert stack.services.queue is not None
    assert await stack.services.queue.length("supplier-sync") == 2


@pytest.mark.parametrize("body", [b"", b" \r\n", b"null", b"{}"])
async def test_no_body_and_an_empty_one_mean_everything(api: ApiClient, body: bytes) -> None:
    answer = await api.call("POST", "/sync", 202, content=body, headers={"Content-Type": "application/json"})
    assert answer["suppliersEnqueued"] == 2


async def test_a_supplier_is_named_by_code_or_document_id(api: ApiClient) -> None:
    (one, two) = (await api.get("/suppliers"))["items"]
    by_code = await api.post("/sync", {"supplierId": one["code"]}, 202)
    by_id = await api.post("/sync", {"supplierId": two["documentId"]}, 202)
    assert [job["supplier"] for job in by_code["jobs"] + by_id["jobs"]] == ["A23", "A360"]


async def test_a_sync_that_is_under_way_is_not_started_twice(api: ApiClient) -> None:
    (first,) = (await api.post("/sync", {"supplierId": "A23"}, 202))["jobs"]
    answer = await api.post("/sync", {"supplierId": "A23"}, 202)
    assert answer["suppliersEnqueued"] == 0
    assert answer["jobs"] == [{**first, "status": "already-running"}]
    await api.problem("POST", "/sync", 409, json={"supplierId": "A23", "useQueue": False})


async def test_what_is_under_way_is_answered_without_a_lock(api: ApiClient, stack: Stack) -> None:
    """A supplier whose row somebody holds is looked at all the same; one with nothing under way would have to wait."""
    (first, second) = (await api.post("/sync", expect=202))["jobs"]
    async with stack.services.database.begin() as held:
        await held.execute(text("SELECT 1 FROM suppliers FOR NO KEY UPDATE"))
        async with asyncio.timeout(3):
            everything = await api.post("/sync", expect=202)
            forced = await api.post("/sync", {"supplierId": "A360", "force": True}, 202)
    under_way = [{**job, "status": "already-running"} for job in (first, second)]
    assert (everything["suppliersEnqueued"], everything["jobs"], forced["jobs"]) == (0, under_way, under_way[1:])


async def test_ten_calls_at_once_start_one_run(api: ApiClient) -> None:
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(api.post("/sync", {"supplierId": "A23"}, 202)) for _ in range(10)]
    answers = [call.result() for call in calls]
    assert sum(answer["suppliersEnqueued"] for answer in answers) == 1
    assert len({answer["jobs"][0]["runId"] for answer in answers}) == 1


async def test_unknown_and_inactive_suppliers_are_refused(api: ApiClient) -> None:
    for body in ({"supplierId": "A999"}, {"supplierId": "A999", "useQueue": False}):
        await api.problem("POST", "/sync", 404, json=body)
    await api.call("PATCH", "/suppliers/A23", json={"isActive": False})
    for body in ({"supplierId": "A23"}, {"supplierId": "A23", "useQueue": False}):
        await api.problem("POST", "/sync", 409, json=body)
    assert [job["supplier"] for job in (await api.post("/sync", expect=202))["jobs"]] == ["A360"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"supplierId": 5}, "supplierId"),
        ({"supplierId": ""}, "supplierId"),
        ({"supplierId": "a\x00"}, "supplierId"),
        ({"useQueue": "yes"}, "useQueue"),
        ({"force": 1}, "force"),
        ({"dryRun": None}, "dryRun"),
        ({"supplierId": "A23", "skus": []}, "skus"),
        ({"supplierId": "A23", "skus": ["a", 1]}, "skus.1"),
        ({"skus": ["a"]}, "skus"),
        ({"supplierID": "A23"}, "supplierID"),
        (["A23"], "body"),
        ("A23", "body"),
    ],
)
async def test_a_bad_body_is_refused_by_field(api: ApiClient, body: Any, field: str) -> None:
    problem = await api.problem("POST", "/sync", 422, json=body)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert (await api.get("/runs"))["items"] == []


async def test_broken_json_is_refused(api: ApiClient) -> None:
    as_json = {"Content-Type": "application/json"}
    for content in (b"{", b"\xff\xfe", b"[" * 100_000, b'{"force": tru}'):
        problem = await api.problem("POST", "/sync", 422, content=content, headers=as_json)
        assert [error["field"] for error in problem["errors"]] == ["body"]
    problem = await api.problem("POST", "/sync", 422, content=b'{"supplierId": "\\ud800"}', headers=as_json)
    assert [error["field"] for error in problem["errors"]] == ["supplierId"]


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}])
async def test_a_body_that_does_not_say_it_is_json_is_told_how(api: ApiClient, headers: dict[str, str]) -> None:
    problem = await api.problem("POST", "/sync", 422, content=b'{"supplierId": "A23"}', headers=headers)
    assert "Content-Type: application/json" in problem["detail"]
    assert [error["field"] for error in problem["errors"]] == ["body"]


async def test_a_dry_run_says_what_a_sync_would_do_and_writes_nothing(api: ApiClient, stack: Stack) -> None:
    answer = await api.post("/sync", {"supplierId": "A23", "dryRun": True})
    assert (answer["success"], answer["mode"]) == (True, "dry-run")
    (supplier,) = answer["suppliers"]
    assert supplier.keys() == {"supplier", "manifest", "guard", "skus"}
    assert (supplier["supplier"], supplier["guard"]) == ("A23", None)
    assert supplier["skus"].keys() == {"new", "changed", "removed"}
    assert (await api.get("/runs"))["items"] == []
    assert await stack.value("SELECT count(*) FROM documents") == 0
    (result,) = (await api.post("/sync", {"supplierId": "A23", "useQueue": False}))["results"]
    assert (await api.get(f"/runs/{result['runId']}"))["manifest"] == supplier["manifest"]


async def test_a_direct_sync_answers_when_it_is_done(api: ApiClient, stack: Stack) -> None:
    answer = await api.post("/sync", {"supplierId": "A23", "useQueue": False})
    assert (answer["success"], answer["mode"], answer["suppliersProcessed"]) == (True, "direct", 1)
    (result,) = answer["results"]
    assert result.keys() == {"supplier", "productsProcessed", "errors", "skipped", "duration", "runId"}
    families = await stack.value("SELECT count(*) FROM products")
    assert (result["supplier"], result["productsProcessed"], result["errors"]) == ("A23", families, 0)
    assert result["duration"].endswith("s")
    assert float(result["duration"][:-1]) > 0
    run = await api.get(f"/runs/{result['runId']}")
    assert (run["mode"], run["status"]) == ("direct", "completed")
    assert run["durationSeconds"] > 0
    assert run["images"]["total"] == run["images"]["uploaded"] + run["images"]["deduplicated"] > 0
    again = await api.post("/sync", {"supplierId": "A23", "useQueue": False})
    assert (again["results"][0]["productsProcessed"], again["results"][0]["errors"]) == (0, 0)


async def test_who_waited_for_the_others_of_a_direct_sync_took_no_longer_for_it(api: ApiClient) -> None:
    results = (await api.post("/sync", {"useQueue": False}))["results"]
    assert len(results) == 2
    for result in results:
        run = await api.get(f"/runs/{result['runId']}")
        assert float(result["duration"][:-1]) == pytest.approx(run["durationSeconds"], abs=0.006)


async def test_a_direct_sync_whose_run_failed_is_no_success(api: ApiClient, stack: Stack) -> None:
    stack.server.faults.add("manifest", "status", status=404, times=1)
    answer = await api.post("/sync", {"supplierId": "A23", "useQueue": False})
    assert (answer["success"], answer["results"][0]["errors"]) == (False, 1)
    assert (await api.post("/sync", {"supplierId": "A23", "useQueue": False}))["success"] is True


async def test_a_direct_sync_needs_no_redis(make_stack: MakeStack) -> None:
    async with make_stack(redis_url=None) as stack, api_client(stack.settings) as api:
        answer = await api.post("/sync", {"useQueue": False})
        assert answer["suppliersProcessed"] == 2
        await api.problem("POST", "/sync", 503)
        assert (await api.get("//readyz"))["database"] == "up"


async def test_a_direct_sync_goes_on_when_its_caller_hangs_up(stack: Stack) -> None:
    stack.server.faults.add("document", "slow", seconds=0.3)
    async with serve(stack.settings) as url, plain_client(base_url=url) as http:
        with suppress(httpx.ReadTimeout):
            await http.post("/api/v1/sync", json={"supplierId": "A23", "useQueue": False}, timeout=0.2)
        async with asyncio.timeout(30):
            while True:
                runs = (await http.get("/api/v1/runs")).json()["items"]
                if runs and runs[0]["finishedAt"]:
                    break
                await asyncio.sleep(0.05)
    assert runs[0]["status"] == "completed"


async def test_who_was_told_that_there_is_no_answer_finds_nothing_started(
    api: ApiClient, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither then nor when what stood still goes on."""
    calls: tuple[dict[str, Any], ...] = (
        {"json": {"supplierId": "A23"}, "headers": {"Idempotency-Key": "once"}},
        {"json": {}},
        {"json": {"useQueue": False}},
    )
    with monkeypatch.context() as impatient:
        impatient.setattr(answer_in_time, "ANSWER_WITHIN_S", 1.0)
        async with stack.services.database.begin() as db:
            await db.execute(text("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE"))
            await asyncio.gather(*(api.problem("POST", "/sync", 503, **call) for call in calls))
    await eventually(lambda: _is_at_rest(stack))
    assert (await api.get("/runs"))["items"] == []
    again = await api.call("POST", "/sync", 202, **calls[0])
    assert [job["status"] for job in again["jobs"]] == ["enqueued"]


async def _is_at_rest(stack: Stack) -> bool:
    """Whether nothing is under way in the database, and nothing waits there for its next statement."""
    others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    return bool(await stack.value(f"SELECT count(*) FROM pg_stat_activity WHERE {others} AND state <> 'idle'") == 0)


async def test_a_repeated_call_with_a_key_answers_what_the_first_one_did(api: ApiClient) -> None:
    key = {"Idempotency-Key": "night-1"}
    first = await api.post("/sync", {"supplierId": "A23"}, 202, headers=key)
    assert first["suppliersEnqueued"] == 1
    await api.post(f"/runs/{first['jobs'][0]['runId']}/cancel")
    again = await api.call("POST", "/sync", 202, content=b'{ "supplierId" :"A23" }', headers={
        **key, "Content-Type": "application/json",
    })  # fmt: skip
    assert again == first
    assert len((await api.get("/runs"))["items"]) == 1
    await api.problem("POST", "/sync", 422, json={"supplierId": "A360"}, headers=key)
    other = await api.post("/sync", {"supplierId": "A23"}, 202, headers={"Idempotency-Key": "night-2"})
    assert other["suppliersEnqueued"] == 1


@pytest.mark.parametrize("body", [{}, {"supplierId": "A1"}, {"supplierId": "A23", "dryRun": True}])
async def test_a_repeated_answer_is_the_first_one_byte_for_byte(
    api: ApiClient, stack: Stack, body: dict[str, Any]
) -> None:
    async def ask() -> bytes:
        answer = await api.http.post("/api/v1/sync", json=body, headers={"Idempotency-Key": "bytes"})
        return answer.content

    first = await ask()
    assert await ask() == first
    async with stack.services.database.begin() as db:  # as the release before kept it
        await db.execute(text("UPDATE idempotency_keys SET answer = answer - :name"), {"name": idempotency.AS_IT_WAS})
    assert json.loads(await ask()) == json.loads(first)


async def test_what_was_refused_stays_refused_under_its_key(api: ApiClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = await api.problem("POST", "/sync", 404, json={"supplierId": "A1"}, headers=key)
    await api.post("/suppliers", {"code": "A1"}, 201)
    assert await api.problem("POST", "/sync", 404, json={"supplierId": "A1"}, headers=key) == first
    other = {"Idempotency-Key": "l"}
    await api.call("PATCH", "/suppliers/A1", json={"isActive": False})
    inactive = await api.problem("POST", "/sync", 409, json={"supplierId": "A1"}, headers=other)
    await api.call("PATCH", "/suppliers/A1", json={"isActive": True})
    assert await api.problem("POST", "/sync", 409, json={"supplierId": "A1"}, headers=other) == inactive


async def test_a_second_call_while_the_first_is_under_way_is_refused_however_long_that_takes(
    api: ApiClient, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotent, "RENEWED_EVERY_S", 0.05)
    key = {"Idempotency-Key": "slow"}
    body = {"supplierId": "A23", "useQueue": False}
    async with stack.services.database.begin() as holding:
        await holding.execute(text("LOCK TABLE products IN ACCESS EXCLUSIVE MODE"))
        first = asyncio.create_task(api.post("/sync", body, headers=key))
        await eventually(lambda: stack.value("SELECT count(*) FROM idempotency_keys"))
        async with stack.services.database.begin() as db:
            await db.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '11 min'"))
        await eventually(lambda: stack.value("SELECT created_at > now() - interval '1 min' FROM idempotency_keys"))
        refused = await api.problem("POST", "/sync", 409, json=body, headers=key)
        assert refused["detail"].startswith("the first call with this Idempotency-Key is still under way; one")
    done = await first
    assert await api.post("/sync", body, headers=key) == done


async def test_a_key_belongs_to_its_caller(make_stack: MakeStack) -> None:
    one, two = "secret-of-the-one-1", "secret-of-the-two-2"
    keys = f"one:operator:{one},two:operator:{two}"
    async with make_stack(api_keys=keys) as stack, api_client(stack.settings) as api:
        for secret, body in ((one, {"supplierId": "A23"}), (two, {"supplierId": "A360"})):
            headers = {"X-API-Key": secret, "Idempotency-Key": "same"}
            assert (await api.post("/sync", body, 202, headers=headers))["suppliersEnqueued"] == 1


async def test_an_outage_does_not_use_a_key_up(make_stack: MakeStack) -> None:
    key = {"Idempotency-Key": "k"}
    async with make_stack() as stack:
        away = stack.settings.model_copy(update={"redis_url": None})
        async with api_client(away) as api:
            await api.problem("POST", "/sync", 503, headers=key)
        async with api_client(stack.settings) as api:
            assert (await api.post("/sync", expect=202, headers=key))["suppliersEnqueued"] == 2


async def test_a_start_is_answered_even_when_its_key_cannot_be_written_down(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs are in the ledger by then: a 503 would say that nothing was started."""

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("PostgreSQL is away")

    monkeypatch.setattr(idempotency, "keep_answer", away)
    async with api_client(stack.settings) as api:
        answer = await api.post("/sync", expect=202, headers={"Idempotency-Key": "k"})
        assert answer["suppliersEnqueued"] == 2
