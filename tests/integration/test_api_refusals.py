"""What is wrong with a call is a problem document that says what is possible: paths, cursors, times, fields, bodies."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.api_client import ApiClient, api_client
from tests.support.stack import Servers, open_stack

NOTHINGS_ID = "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8"


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


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/runs", f'["r",1796064283766034,"{NOTHINGS_ID}\\n"]'),
        ("/webhooks", f'["r",1796064283766034,"{NOTHINGS_ID}\\n"]'),
        ("/webhooks", f'["h",1796064283766034,"{NOTHINGS_ID}\\n"]'),
        ("/webhooks", f'["r",1796064283766034,"{NOTHINGS_ID}"]'),
        ("/audit", f'["t",0,"{"0" * 20}{"9" * 30}"]'),
        ("/audit", f'["a",0,{"9" * 5000}]'),
    ],
)
async def test_a_forged_cursor_and_one_of_another_list_is_refused(api: ApiClient, path: str, key: str) -> None:
    problem = await api.problem("GET", path, 422, params={"cursor": urlsafe_b64encode(key.encode()).decode()})
    assert [error["field"] for error in problem["errors"]] == ["cursor"]


@pytest.mark.parametrize(("method", "verb"), [("GET", ""), ("POST", "/retry"), ("POST", "/cancel"), ("DELETE", "")])
@pytest.mark.parametrize(
    ("queue", "job"),
    [("supplier-sync", "nothing"), ("supplier-sync", "a%2Fb"), ("nope", "1"), ("image-upload", "a%00b")],
)
async def test_an_unknown_job_is_not_found_and_says_so(
    api: ApiClient, method: str, verb: str, queue: str, job: str
) -> None:
    problem = await api.problem(method, f"/queues/{queue}/jobs/{job}{verb}", 404)
    shown = unquote(job).replace("\x00", "\N{REPLACEMENT CHARACTER}")
    assert (problem["found"], problem["queueName"], problem["jobId"]) == (False, queue, shown)


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
            ("Idempotency-Key", "should not be empty"),
        ),
        ("GET", "/products?limit=x", {}, ("limit", "should be a whole number")),
        ("GET", "/products?limit=1_0", {}, ("limit", "should be a whole number")),
        ("GET", "/audit?limit=1.0", {}, ("limit", "should be a whole number")),
        ("GET", "/changes?limit=%2B1", {}, ("limit", "should be a whole number")),
        ("GET", "/changes?since=1.0", {}, ("since", "should be a whole number")),
        ("GET", "/changes?cursor=1_0", {}, ("cursor", "should be a whole number")),
        ("GET", f"/changes?since={'9' * 5000}", {}, ("since", "is too large")),
        ("GET", "/products?limit=501", {}, ("limit", "should be at most 500")),
        ("GET", "/changes?since=-1", {}, ("since", "should be at least 0")),
        ("GET", "/products?status=x", {}, ("status", "should be 'active' or 'discontinued'")),
        ("POST", "/suppliers", {"json": {}}, ("code", "is needed")),
        (
            "POST",
            "/suppliers",
            {"content": rb'{"code": "\ud800"}', "headers": {"Content-Type": "application/json"}},
            ("code", "should be valid Unicode"),
        ),
        ("POST", "/suppliers", {"json": {"code": "A/1"}}, ("code", "should have no slash and no blank in it")),
        ("POST", "/suppliers", {"json": {"code": "A" * 101}}, ("code", "should have at most 100 characters")),
        (
            "PATCH",
            "/suppliers/A23",
            {"json": {"removalGuardShare": "20%"}},
            ("removalGuardShare", "should be a number"),
        ),
        ("POST", "/sync", {"json": {"force": "yes"}}, ("force", "should be true or false")),
        ("POST", "/sync", {"json": [1]}, ("body", "should be a JSON object")),
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
