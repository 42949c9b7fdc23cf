"""Jobs, queues and runs over HTTP: what is shown, and what operators may do."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis import Redis
from sqlalchemy import text

from app.coordination.heartbeats import WorkerBeat, write_beat
from app.jobs.definitions import QUEUES, ImageResult
from app.persistence import ledger, runs
from tests.conftest import MakeStack
from tests.support.api_client import ApiClient, api_client
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.stack import Stack

MOMENT = "2026-01-05T03:00:00Z"
EMPTY = {"waiting": 0, "active": 0, "completed": 0, "failed": 0, "delayed": 0, "total": 0, "paused": False}


@pytest.fixture
async def api(stack: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(stack.settings) as client:
        yield client


async def test_a_queued_sync_can_be_followed_by_its_job_and_run(api: ApiClient) -> None:
    before = int(time.time() * 1000)
    started = await api.post("/sync", {"supplierId": "A23"}, 202)
    (job,) = started["jobs"]
    status = await api.get(f"/queues/supplier-sync/jobs/{job['jobId']}")
    timestamp = status.pop("timestamp")
    assert before - 5000 <= timestamp <= before + 60_000
    assert status == {
        "found": True,
        "jobId": job["jobId"],
        "queueName": "supplier-sync",
        "state": "waiting",
        "progress": None,
        "result": None,
        "error": None,
        "attemptsMade": 0,
        "processedOn": None,
        "finishedOn": None,
        "runId": job["runId"],
        "parentJobId": None,
    }
    run = await api.get(f"/runs/{job['runId']}")
    assert run.pop("createdAt").endswith("Z")
    assert run == {
        "id": job["runId"],
        "supplier": "A23",
        "mode": "queued",
        "trigger": "api",
        "status": "queued",
        "startedAt": None,
        "finishedAt": None,
        "repairedAt": None,
        "durationSeconds": None,
        "error": None,
        "guard": None,
        "manifest": {"entries": 0, "new": 0, "changed": 0, "unchanged": 0, "removed": 0, "invalid": 0},
        "documents": {"fetched": 0, "unchanged": 0, "failed": 0},
        "families": {"total": 0, "completed": 0, "failed": 0, "cancelled": 0},
        "variants": {"created": 0, "updated": 0, "unchanged": 0, "discontinued": 0, "reactivated": 0},
        "images": {"total": 0, "uploaded": 0, "deduplicated": 0, "failed": 0, "cancelled": 0},
    }


async def test_stats_count_by_state_and_leave_out_direct_and_cancelled_jobs(api: ApiClient, stack: Stack) -> None:
    run = await add_run(stack)
    for state, count in (("waiting", 3), ("active", 1), ("delayed", 2), ("completed", 5), ("failed", 4)):
        await add_jobs(stack, run, queue="image-upload", state=state, count=count)
    await add_jobs(stack, run, queue="image-upload", state="cancelled", count=7)
    direct = await add_run(stack, "A360", mode="direct")
    (hidden,) = await add_jobs(stack, direct, queue="image-upload", state="completed", direct=True)
    stats = await api.get("/queues/stats")
    numbers = {"waiting": 3, "active": 1, "completed": 5, "failed": 4, "delayed": 2, "total": 15, "paused": False}
    assert stats == {
        "supplierSync": {"queueName": "supplier-sync", **EMPTY},
        "productFamily": {"queueName": "product-family", **EMPTY},
        "imageUpload": {"queueName": "image-upload", **numbers},
    }
    assert await api.get("/queues/image-upload/stats") == stats["imageUpload"]
    listed = await api.all_pages("/queues/image-upload/jobs")
    assert len(listed) == 22
    assert hidden not in {job["jobId"] for job in listed}
    assert (await api.get(f"/queues/image-upload/jobs/{hidden}"))["state"] == "completed"


async def test_jobs_are_listed_by_state_run_and_supplier_the_newest_first(api: ApiClient, stack: Stack) -> None:
    mine, other = await add_run(stack), await add_run(stack, "A360")
    failed = await add_jobs(stack, mine, queue="image-upload", state="failed", count=7, error="x" * 1000)
    waiting = await add_jobs(stack, mine, queue="image-upload", state="waiting", count=2)
    await add_jobs(stack, other, queue="image-upload", state="failed", count=1)
    await add_jobs(stack, mine, queue="product-family", state="failed", count=1)
    items = await api.all_pages("/queues/image-upload/jobs", state="failed", runId=mine)
    assert {item["jobId"] for item in items} == set(failed)
    assert len(items) == 7
    assert [item["timestamp"] for item in items] == sorted((item["timestamp"] for item in items), reverse=True)
    assert items[0].keys() == {
        "found", "jobId", "queueName", "state", "error", "attemptsMade", "processedOn", "finishedOn", "timestamp",
        "runId", "parentJobId",
    }  # fmt: skip
    assert {len(item["error"]) for item in items} == {300}
    assert len((await api.get(f"/queues/image-upload/jobs/{failed[0]}"))["error"]) == 1000
    of_supplier = await api.all_pages("/queues/image-upload/jobs", supplier="A23", state="waiting")
    assert {item["jobId"] for item in of_supplier} == set(waiting)
    assert len(await api.all_pages("/queues/image-upload/jobs")) == 10


async def test_jobs_of_a_direct_run_are_listed_where_it_is_named(api: ApiClient, stack: Stack) -> None:
    run_id = await add_run(stack, mode="direct")
    ids = await add_jobs(stack, run_id, queue="image-upload", state="failed", count=2, direct=True)
    listed = await api.get("/queues/image-upload/jobs", runId=run_id, state="failed")
    assert {job["jobId"] for job in listed["items"]} == set(ids)
    assert (await api.get("/queues/image-upload/jobs"))["items"] == []


async def test_a_list_is_not_disturbed_by_jobs_that_arrive_meanwhile(api: ApiClient, stack: Stack) -> None:
    run = await add_run(stack)
    old = await add_jobs(stack, run, queue="image-upload", state="waiting", count=5)
    first = await api.get("/queues/image-upload/jobs", limit=3)
    await add_jobs(stack, run, queue="image-upload", state="waiting", count=3)
    second = await api.get("/queues/image-upload/jobs", limit=3, cursor=first["nextCursor"])
    assert {job["jobId"] for job in first["items"] + second["items"]} == set(old)
    assert second["nextCursor"] is None


async def test_a_failed_job_is_retried_with_all_its_attempts(api: ApiClient, stack: Stack) -> None:
    run = await add_run(stack, status="completed_with_errors")
    (job,) = await add_jobs(stack, run, queue="image-upload", state="failed")
    address = await failed_address(stack, job)
    assert (await api.get(f"/runs/{run}"))["images"]["failed"] == 1
    status = await api.post(f"/queues/image-upload/jobs/{job}/retry")
    assert (status["state"], status["attemptsMade"], status["error"]) == ("waiting", 0, None)
    after = await api.get(f"/runs/{run}")
    assert (after["images"]["failed"], after["status"]) == (0, "completed_with_errors")
    assert await stack.value("SELECT open_jobs FROM runs WHERE id = CAST(:id AS uuid)", id=run) == 1
    assert await stack.value("SELECT state FROM addresses WHERE id = :id", id=address) == "pending"
    assert stack.services.queue is not None
    assert await stack.services.queue.unknown("image-upload", [job]) == []
    await api.problem("POST", f"/queues/image-upload/jobs/{job}/retry", 409)


async def failed_address(stack: Stack, job: str) -> int:
    async with stack.services.database.begin() as db:
        address = await db.scalar(
            text("INSERT INTO addresses (url_sha256, url, state) VALUES ('x', 'http://x', 'failed') RETURNING id")
        )
        await db.execute(
            text("UPDATE jobs SET args = jsonb_build_object('address_id', CAST(:address AS bigint)) WHERE id = :id"),
            {"address": address, "id": job},
        )
    return int(address or 0)


async def test_a_repaired_run_is_completed_once_nothing_is_failed_any_more(api: ApiClient, stack: Stack) -> None:
    run = await add_run(stack, status="completed_with_errors")
    (job,) = await add_jobs(stack, run, queue="image-upload", state="failed")
    before = await api.get(f"/runs/{run}")
    await api.post(f"/queues/image-upload/jobs/{job}/retry")
    async with stack.services.database.begin() as db:
        claimed, _ = await ledger.claim(db, [job], queue="image-upload")
        await ledger.complete_one(db, claimed[0], ImageResult("ab", deduplicated=False))
        await runs.book(db, run, Counter(images_uploaded=1), finished=1)
    after = await api.get(f"/runs/{run}")
    assert (after["status"], after["finishedAt"]) == ("completed", before["finishedAt"])
    assert after["repairedAt"] is not None
    status = await api.get(f"/queues/image-upload/jobs/{job}")
    assert (status["state"], status["attemptsMade"]) == ("completed", 1)
    assert status["result"] == {"sha256": "ab", "deduplicated": False}


@pytest.mark.parametrize("state", ["waiting", "active", "delayed", "completed", "cancelled"])
async def test_only_a_failed_job_can_be_retried(api: ApiClient, stack: Stack, state: str) -> None:
    run = await add_run(stack)
    (job,) = await add_jobs(stack, run, queue="image-upload", state=state)
    problem = await api.problem("POST", f"/queues/image-upload/jobs/{job}/retry", 409)
    assert state in problem["detail"]
    await api.problem("POST", f"/queues/product-family/jobs/{job}/retry", 404)


async def test_jobs_of_cancelled_and_direct_runs_are_not_retried(api: ApiClient, stack: Stack) -> None:
    cancelled = await add_run(stack, status="cancelled")
    (one,) = await add_jobs(stack, cancelled, queue="image-upload", state="failed")
    direct = await add_run(stack, mode="direct")
    (two,) = await add_jobs(stack, direct, queue="image-upload", state="failed", direct=True)
    for job in (one, two):
        await api.problem("POST", f"/queues/image-upload/jobs/{job}/retry", 409)
    assert await api.post("/queues/image-upload/retry-failed") == {"queueName": "image-upload", "retried": 0}


async def test_a_failed_supplier_job_waits_for_a_run_that_is_under_way(api: ApiClient, stack: Stack) -> None:
    old = await add_run(stack, status="failed")
    (job,) = await add_jobs(stack, old, queue="supplier-sync", state="failed")
    await add_run(stack, status="running")
    await api.problem("POST", f"/queues/supplier-sync/jobs/{job}/retry", 409)
    assert (await api.post("/queues/supplier-sync/retry-failed"))["retried"] == 0


async def test_fifty_thousand_failed_jobs_are_retried_in_small_steps(api: ApiClient, stack: Stack) -> None:
    """CASES.md B6."""
    one = await add_run(stack, status="completed_with_errors")
    two = await add_run(stack, "A360", status="completed_with_errors")
    await add_jobs(stack, one, queue="image-upload", state="failed", count=49_990)
    await add_jobs(stack, two, queue="image-upload", state="failed", count=10)
    await add_jobs(stack, one, queue="product-family", state="failed", count=1)
    answer = await api.call("POST", "/queues/image-upload/retry-failed", timeout=120)
    assert answer == {"queueName": "image-upload", "retried": 50_000}
    stats = (await api.get("/queues/stats"))["imageUpload"]
    assert (stats["waiting"], stats["failed"]) == (50_000, 0)
    counts = await stack.rows("SELECT open_jobs, images_failed, families_failed FROM runs ORDER BY open_jobs")
    assert counts == [
        {"open_jobs": 10, "images_failed": 0, "families_failed": 0},
        {"open_jobs": 49_990, "images_failed": 0, "families_failed": 1},
    ]
    assert stack.services.queue is not None
    assert await stack.services.queue.length("image-upload") == 50_000


async def test_long_errors_do_not_make_a_list_unreadable(api: ApiClient, stack: Stack) -> None:
    """CASES.md C3."""
    run = await add_run(stack, status="completed_with_errors")
    await add_jobs(stack, run, queue="product-family", state="failed", count=2000, error="<html>" * 300)
    answer = await api.http.get("/api/v1/queues/product-family/jobs", params={"state": "failed", "limit": 500})
    assert len(answer.content) < 1_000_000
    assert len(answer.json()["items"]) == 500


@pytest.mark.parametrize("state", ["waiting", "delayed", "active"])
async def test_an_open_job_is_cancelled_and_counted(api: ApiClient, stack: Stack, state: str) -> None:
    run = await add_run(stack, status="running")
    (job,) = await add_jobs(stack, run, queue="image-upload", state=state)
    (other,) = await add_jobs(stack, run, queue="image-upload", state="waiting")
    assert (await api.post(f"/queues/image-upload/jobs/{job}/cancel"))["state"] == "cancelled"
    assert (await api.get(f"/runs/{run}"))["status"] == "running"
    assert (await api.post(f"/queues/image-upload/jobs/{other}/cancel"))["state"] == "cancelled"
    after = await api.get(f"/runs/{run}")
    assert (after["status"], after["images"]["cancelled"]) == ("completed", 2)
    await api.problem("POST", f"/queues/image-upload/jobs/{job}/cancel", 409)


async def test_a_cancelled_job_keeps_the_attempts_that_it_had(api: ApiClient, stack: Stack) -> None:
    """By itself, and with its run: whether in the middle of an attempt or before the next one."""
    run = await add_run(stack, status="running")
    jobs = [
        job
        for state in ("waiting", "delayed", "active")
        for job in await add_jobs(stack, run, queue="product-family", state=state, count=2)
    ]
    async with stack.services.database.begin() as db:
        await db.execute(text("UPDATE jobs SET attempts = 1 WHERE state = 'delayed'"))
    before = [(await api.get(f"/queues/product-family/jobs/{job}"))["attemptsMade"] for job in jobs]
    assert before == [0, 0, 1, 1, 1, 1]
    for job in jobs[::2]:
        await api.post(f"/queues/product-family/jobs/{job}/cancel")
    await api.post(f"/runs/{run}/cancel")
    async with stack.services.database.begin() as db:
        await ledger.end_cancelled(db, jobs)  # as the worker does that had the active one in hand
    after = [await api.get(f"/queues/product-family/jobs/{job}") for job in jobs]
    assert [job["state"] for job in after] == ["cancelled"] * 6
    assert [job["attemptsMade"] for job in after] == before


async def test_cancelling_a_suppliers_job_cancels_its_run(api: ApiClient, stack: Stack) -> None:
    started = await api.post("/sync", {"supplierId": "A23"}, 202)
    (job,) = started["jobs"]
    await add_jobs(stack, job["runId"], queue="image-upload", state="waiting", count=3)
    assert (await api.post(f"/queues/supplier-sync/jobs/{job['jobId']}/cancel"))["state"] == "cancelled"
    run = await api.get(f"/runs/{job['runId']}")
    assert (run["status"], run["images"]["cancelled"]) == ("cancelled", 3)


async def test_a_finished_job_is_deleted_and_an_open_one_is_not(api: ApiClient, stack: Stack) -> None:
    run = await add_run(stack)
    for state in ("completed", "failed", "cancelled"):
        (job,) = await add_jobs(stack, run, queue="image-upload", state=state)
        deleted = await api.call("DELETE", f"/queues/image-upload/jobs/{job}")
        assert deleted == {"queueName": "image-upload", "jobId": job, "deleted": True}
        await api.problem("GET", f"/queues/image-upload/jobs/{job}", 404)
        await api.problem("DELETE", f"/queues/image-upload/jobs/{job}", 404)
    for state in ("waiting", "active", "delayed"):
        (job,) = await add_jobs(stack, run, queue="image-upload", state=state)
        await api.problem("DELETE", f"/queues/image-upload/jobs/{job}", 409)


async def test_a_queue_is_paused_and_resumed(api: ApiClient) -> None:
    assert await api.post("/queues/product-family/pause") == {"queueName": "product-family", "paused": True}
    assert await api.post("/queues/product-family/pause") == {"queueName": "product-family", "paused": True}
    stats = await api.get("/queues/stats")
    assert [stats[name]["paused"] for name in ("supplierSync", "productFamily", "imageUpload")] == [False, True, False]
    assert await api.post("/queues/product-family/resume") == {"queueName": "product-family", "paused": False}
    assert (await api.get("/queues/product-family/stats"))["paused"] is False


async def test_runs_are_listed_by_supplier_and_status_the_newest_first(api: ApiClient, stack: Stack) -> None:
    ids = [await add_run(stack, supplier) for supplier in ("A23", "A360", "A23", "A23", "A360")]
    failed = await add_run(stack, status="failed")
    listed = await api.all_pages("/runs", limit=2)
    assert [run["id"] for run in listed] == [failed, *reversed(ids)]
    of_supplier = await api.all_pages("/runs", limit=2, supplier="A360")
    assert [run["id"] for run in of_supplier] == [ids[4], ids[1]]
    assert [run["id"] for run in await api.all_pages("/runs", status="failed")] == [failed]


async def test_a_run_is_cancelled_once(api: ApiClient, stack: Stack) -> None:
    (job,) = (await api.post("/sync", {"supplierId": "A23"}, 202))["jobs"]
    run = await api.post(f"/runs/{job['runId']}/cancel")
    assert run["status"] == "cancelled"
    assert (await api.get(f"/queues/supplier-sync/jobs/{job['jobId']}"))["state"] == "cancelled"
    await api.problem("POST", f"/runs/{job['runId']}/cancel", 409)
    again = await api.post("/sync", {"supplierId": "A23"}, 202)
    assert again["suppliersEnqueued"] == 1


async def test_a_run_with_active_jobs_is_cancelling_until_they_have_stopped(api: ApiClient, stack: Stack) -> None:
    run = await add_run(stack, status="running")
    await add_jobs(stack, run, queue="product-family", state="active")
    assert (await api.post(f"/runs/{run}/cancel"))["status"] == "cancelling"
    assert (await api.post(f"/runs/{run}/cancel"))["status"] == "cancelling"


async def test_problems_are_listed_by_severity_and_stage(stack: Stack) -> None:
    paths = [f"*{entry.path}" for entry in stack.feed.entries("A23")][:2]
    for path in paths:
        stack.server.faults.add(path, "status", status=404)
    stack.feed.add_manifest_lines("this is no line")
    await stack.sync("A23")
    async with api_client(stack.settings) as api:
        (run, *_) = (await api.get("/runs"))["items"]
        everything = await api.all_pages(f"/runs/{run['id']}/problems", limit=1)
        errors = await api.get(f"/runs/{run['id']}/problems", severity="error", stage="supplier")
        await api.problem("GET", f"/runs/{run['id']}/problems?severity=odd", 422)
    assert [problem for problem in everything if problem["severity"] == "error"] == errors["items"]
    assert len(errors["items"]) == 2
    assert everything[0].keys() == {
        "severity", "stage", "kind", "url", "sku", "line", "reason", "jobId", "at",
    }  # fmt: skip


async def test_workers_are_listed_page_by_page(api: ApiClient, stack: Stack) -> None:
    assert stack.settings.redis_url is not None
    with Redis.from_url(stack.settings.redis_url.get_secret_value()) as redis:
        for number, queue in enumerate(QUEUES * 2):
            write_beat(redis, WorkerBeat(f"w{number}", queue, "sync-1", 4711, MOMENT, MOMENT, 3, 1))
    workers = await api.all_pages("/workers", limit=4)
    assert [(worker["queueName"], worker["id"]) for worker in workers] == sorted(
        (queue, f"w{number}") for number, queue in enumerate(QUEUES * 2)
    )
    await api.problem("GET", "/workers?limit=0", 422)


async def test_without_workers_the_list_is_empty(api: ApiClient) -> None:
    assert await api.get("/workers") == {"items": [], "nextCursor": None}


async def test_confirming_starts_a_run_for_that_one_manifest(make_stack: MakeStack) -> None:
    async with make_stack() as stack, api_client(stack.settings) as api:
        await stack.sync()
        plain = (await api.get("/runs"))["items"][0]["id"]
        await api.problem("POST", f"/runs/{plain}/confirm-removals", 409)
        families = await stack.value(
            "SELECT count(*) FROM products p JOIN suppliers s ON s.id = p.supplier_id WHERE s.code = 'A23'"
        )
        stack.feed.hide_supplier("A23")
        await stack.sync("A23")
        run = (await api.get("/runs", supplier="A23"))["items"][0]
        assert run["guard"]["wouldRemove"] == families
        (would,) = (await api.post("/sync", {"supplierId": "A23", "dryRun": True}))["suppliers"]
        assert json.dumps(would["guard"]) == json.dumps(run["guard"])
        await api.call("PATCH", "/suppliers/A23", json={"isActive": False})
        refused = await api.problem("POST", f"/runs/{run['id']}/confirm-removals", 409)
        assert "inactive" in refused["detail"]
        await api.call("PATCH", "/suppliers/A23", json={"isActive": True})
        confirmed = await api.post(f"/runs/{run['id']}/confirm-removals", expect=202)
        assert (confirmed["supplier"], confirmed["status"]) == ("A23", "enqueued")
        await api.problem("POST", f"/runs/{run['id']}/confirm-removals", 409)
        await api.post(f"/runs/{confirmed['runId']}/cancel")
        stack.feed.add_manifest_lines("another manifest")
        await api.problem("POST", f"/runs/{run['id']}/confirm-removals", 409)
