"""The event stream over HTTP: what is told, resuming, and ending with the service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.api.live_events import LiveEvent, LiveEvents
from tests.support.api_client import ApiClient, api_client
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.stack import Stack
from tests.support.waiting import eventually


@pytest.fixture
async def api(stack: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(stack.settings) as client:
        yield client


@asynccontextmanager
async def stream(api: ApiClient, last_id: str | None = None) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with api.http.stream("GET", "/api/v1/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        yield events(answer)


async def events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    event: dict[str, Any] = {}
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if not line and event:
            yield {**event, "data": json.loads(event["data"])}
            event = {}
        elif name in {"event", "id", "data"}:
            event[name] = value


async def until(found: AsyncIterator[dict[str, Any]], kind: str, **members: Any) -> dict[str, Any]:
    async with asyncio.timeout(10):
        async for event in found:
            if event["event"] == kind and members.items() <= event["data"].items():
                return event
    raise AssertionError(f"the stream ended before {kind} {members}")


async def test_a_sync_is_told_as_run_job_and_queue_events(api: ApiClient) -> None:
    async with stream(api) as found:
        (job,) = (await api.post("/sync", {"supplierId": "A23"}, 202))["jobs"]
        told = [await until(found, "queue", queueName="supplier-sync", waiting=1)]
        told.append(await until(found, "run", id=job["runId"], status="queued"))
        told.append(await until(found, "job", jobId=job["jobId"], state="waiting"))
        assert told[2]["data"] == await api.get(f"/queues/supplier-sync/jobs/{job['jobId']}")
        await api.post(f"/runs/{job['runId']}/cancel")
        assert (await until(found, "run", id=job["runId"], status="cancelled"))["data"]["finishedAt"]
        await until(found, "job", jobId=job["jobId"], state="cancelled")
    assert len({event["id"] for event in told}) == 3


async def test_a_job_is_told_when_it_becomes_active_and_when_it_ends(api: ApiClient, stack: Stack) -> None:
    run = await add_run(stack, status="running")
    async with stream(api) as found:
        (job,) = await add_jobs(stack, run, queue="image-upload", state="active")
        await until(found, "job", jobId=job, state="active")
        await api.post(f"/queues/image-upload/jobs/{job}/cancel")
        await until(found, "job", jobId=job, state="cancelled")


async def test_a_stream_is_resumed_where_it_broke_off(api: ApiClient) -> None:
    async with stream(api) as found:
        await api.post("/queues/image-upload/pause")
        last = await until(found, "queue", queueName="image-upload", paused=True)
    await api.post("/queues/image-upload/resume")
    await api.post("/queues/product-family/pause")
    async with stream(api, last["id"]) as found:
        first = await anext(found)
        assert first["event"] == "queue"
        second = await anext(found)
        assert {first["data"]["queueName"], second["data"]["queueName"]} == {"image-upload", "product-family"}


@pytest.mark.parametrize("last_id", ["x", "00000000-1", "-", "99999999999999999999999", "x" * 5000])
async def test_an_unknown_id_gets_one_reset(api: ApiClient, last_id: str) -> None:
    async with stream(api, last_id) as found:
        reset = await anext(found)
        assert reset["event"] == "reset"
        await api.post("/queues/image-upload/pause")
        assert (await anext(found))["event"] == "queue"
    async with stream(api, reset["id"]) as found:
        assert (await anext(found))["event"] == "queue"


async def test_fifty_open_streams_end_when_the_service_is_asked_to(stack: Stack) -> None:
    """CASES.md B4."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, _: told.append(signum))
    try:
        async with api_client(stack.settings) as api, asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(read_to_the_end(api))
            await asyncio.sleep(1.5)
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM]


async def read_to_the_end(api: ApiClient) -> None:
    async with stream(api) as found:
        async for _ in found:
            pass


@pytest.fixture
async def live(stack: Stack) -> AsyncIterator[LiveEvents]:
    live = LiveEvents(stack.services.database, stack.settings)
    await live.open()
    yield live
    live.close()


async def test_a_slow_reader_gets_what_was_added_while_it_took_one(stack: Stack, live: LiveEvents) -> None:
    slow = live.follow(None)
    first = await _first_of_runs(stack, slow, 3)
    newest = await _told_last(stack, live, first)
    ids = [first.id]
    async with asyncio.timeout(10):
        while ids[-1] != newest.id:
            ids.append((await anext(slow)).id)
    await slow.aclose()
    numbers = [int(number.rpartition("-")[2]) for number in ids]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


async def test_a_reader_that_is_too_far_behind_is_told_so(stack: Stack, live: LiveEvents) -> None:
    live._kept = deque(maxlen=2)
    slow = live.follow(None)
    first = await _first_of_runs(stack, slow, 1)
    for _ in range(4):
        await add_run(stack)
    await eventually(lambda: _has_more(live, first, 4))
    async with asyncio.timeout(10):
        while (await anext(slow)).kind != "reset":
            pass
    await slow.aclose()


async def _first_of_runs(stack: Stack, found: AsyncIterator[LiveEvent], count: int) -> LiveEvent:
    """The first event that is told of so many new runs."""
    first = asyncio.ensure_future(anext(found))
    await asyncio.sleep(0)  # it listens
    for _ in range(count):
        await add_run(stack)
    async with asyncio.timeout(10):
        return await first


async def _has_more(live: LiveEvents, than: LiveEvent, count: int) -> bool:
    return live._number >= int(than.id.rpartition("-")[2]) + count


async def _told_last(stack: Stack, live: LiveEvents, after: LiveEvent) -> LiveEvent:
    """Add some runs, and be another reader until the last of them is told."""
    runs = {await add_run(stack) for _ in range(4)}
    other = live.follow(after.id)
    async with asyncio.timeout(10):
        async for event in other:
            runs.discard(str(event.data.get("id")))
            if not runs:
                await other.aclose()
                return event
    raise AssertionError("the stream ended")
