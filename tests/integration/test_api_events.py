"""The event stream over HTTP: what is told, resuming, and ending with the service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from app.api import live_events
from app.api.live_events import LiveEvent, LiveEvents, State
from app.main import create_app
from tests.support.api_client import ApiClient, api_client, serving
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


async def test_a_job_that_was_told_as_failed_is_told_again_when_a_retry_is_over_between_two_looks(
    stack: Stack, live: LiveEvents
) -> None:
    """It was shown as failed for good: what is over is not among what moves, and nobody saw it move."""
    run = await add_run(stack, status="running")
    (job,) = await add_jobs(stack, run, queue="image-upload", state="active")
    async with live.following(None) as found, asyncio.timeout(20):
        await _move_job(stack, job, "failed")
        assert await _states_until(found, job, "failed") == ["failed"]
        await live._look()  # at which it is not among what moved
        async with live._one_look:
            await _move_job(stack, job, "waiting", "active", "completed")
        assert await _states_until(found, job, "completed") == ["completed"]
        assert not live._failed


async def test_of_the_jobs_that_were_told_as_failed_the_last_are_kept_in_mind(
    stack: Stack, live: LiveEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_events, "MOST_FAILED", 2)
    run = await add_run(stack, status="running")
    jobs = await add_jobs(stack, run, queue="image-upload", state="active", count=3)
    async with live.following(None) as found, asyncio.timeout(20):
        for job in jobs:
            await _move_job(stack, job, "failed")
            await _states_until(found, job, "failed")
    assert list(live._failed) == jobs[1:]


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


async def test_what_happened_while_nobody_listened_is_told_to_who_comes_back(api: ApiClient, stack: Stack) -> None:
    run = await add_run(stack, status="running")
    async with stream(api) as found:
        await api.post("/queues/image-upload/pause")
        last = await until(found, "queue", queueName="image-upload", paused=True)
    (job,) = await add_jobs(stack, run, queue="image-upload", state="active")
    await asyncio.sleep(3 * live_events.LOOK_EVERY_S)
    await api.post(f"/queues/image-upload/jobs/{job}/cancel")
    async with stream(api, last["id"]) as found:
        await until(found, "job", jobId=job, state="active")
        await until(found, "job", jobId=job, state="cancelled")


async def test_who_comes_back_after_nobody_looked_any_more_reads_everything_again(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_events, "LINGER_S", 0.1)
    async with stream(api) as found:
        await api.post("/queues/image-upload/pause")
        last = await until(found, "queue", queueName="image-upload", paused=True)
    await asyncio.sleep(0.5)
    async with stream(api, last["id"]) as found:
        assert (await anext(found))["event"] == "reset"
        await api.post("/queues/image-upload/resume")
        await until(found, "queue", queueName="image-upload", paused=False)


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
    yield live
    live.close()
    await live.stop()
    assert not live._listeners


async def test_a_slow_reader_gets_what_was_added_while_it_took_one(stack: Stack, live: LiveEvents) -> None:
    async with live.following(None) as slow, asyncio.timeout(20):
        told = await _first_of_runs(stack, slow, 3)
        newest = await _told_last(stack, live, told[-1])
        while told[-1].id != newest.id:
            told += await anext(slow)
    numbers = [int(event.id.rpartition("-")[2]) for event in told]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


async def test_a_reader_that_is_too_far_behind_is_told_so(stack: Stack, live: LiveEvents) -> None:
    live._kept = deque(maxlen=2)
    async with live.following(None) as slow, asyncio.timeout(20):
        first = (await _first_of_runs(stack, slow, 1))[-1]
        for _ in range(4):
            await add_run(stack)
        await eventually(lambda: _has_more(live, first, 4))
        while [event.kind for event in await anext(slow)] != ["reset"]:
            pass


async def test_what_one_look_finds_is_sent_as_one_piece(stack: Stack, live: LiveEvents) -> None:
    """Fifty streams cost fifty pieces a look, not fifty times its events."""
    async with live.following(None) as found, asyncio.timeout(20):
        async with live._one_look:  # until all of them are there
            runs = {await add_run(stack) for _ in range(20)}
        assert runs <= {event.data.get("id") for event in await anext(found)}


async def test_what_comes_before_the_first_piece_is_asked_for_is_told(stack: Stack, live: LiveEvents) -> None:
    async with live.following(None) as found, asyncio.timeout(20):
        run = await add_run(stack)
        await eventually(lambda: _has_more_than(live, 0))
        assert run in {event.data.get("id") for event in await anext(found)}


async def test_a_look_that_fails_is_told_and_the_next_ones_go_on(
    stack: Stack, live: LiveEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open streams went on without events, and nobody was told."""
    monkeypatch.setattr(live_events, "AFTER_DEFECT_S", 0.01)
    read = live._read
    failing = iter([RuntimeError("a defect")])

    async def fail_once(before: State) -> State:
        for error in failing:
            raise error
        return await read(before)

    with capture_logs() as logs:
        async with live.following(None) as found, asyncio.timeout(20):
            monkeypatch.setattr(live, "_read", fail_once)
            run = await add_run(stack)
            assert run in {event.data.get("id") for event in await anext(found)}
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["a look for events failed"]


async def test_a_stream_without_news_gives_a_sign_of_life(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_events, "QUIET_S", 0.05)
    async with api.http.stream("GET", "/api/v1/events") as answer, asyncio.timeout(10):
        lines = answer.aiter_lines()
        while not (await anext(lines)).startswith(":"):
            pass


async def test_who_goes_while_something_is_being_sent_is_no_error(stack: Stack) -> None:
    """Each page that was closed during a busy sync left the trace of an error in the log."""
    app = create_app(stack.settings)
    with capture_logs() as logs:
        async with serving(app) as url:
            for _ in range(10):
                await _gone_in_the_middle(urlsplit(url), app.state.live)
    assert [line for line in logs if line["log_level"] == "error"] == []


async def _gone_in_the_middle(address: SplitResult, live: LiveEvents) -> None:
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await eventually(lambda: _somebody_listens(live))
    for _ in range(200):
        live._add("queue", {"filler": "x" * 500})
    await live._tell()
    await reader.readexactly(1000)
    writer.transport.abort()
    await eventually(lambda: _nobody_listens(live))


async def _somebody_listens(live: LiveEvents) -> bool:
    return bool(live._listeners)


async def _nobody_listens(live: LiveEvents) -> bool:
    return not live._listeners


async def _first_of_runs(stack: Stack, found: AsyncIterator[Sequence[LiveEvent]], count: int) -> list[LiveEvent]:
    """What is told first of so many new runs."""
    for _ in range(count):
        await add_run(stack)
    return list(await anext(found))


async def _move_job(stack: Stack, job: str, *states: str) -> None:
    for state in states:
        async with stack.services.database.begin() as db:
            await db.execute(
                text("""
                UPDATE jobs SET state = :state, claim = CASE WHEN :state = 'active' THEN gen_random_uuid() END,
                    error = CASE WHEN :state = 'failed' THEN 'no' END,
                    finished_at = CASE WHEN :state IN ('completed', 'failed') THEN now() END WHERE id = :id"""),
                {"state": state, "id": job},
            )


async def _states_until(found: AsyncIterator[Sequence[LiveEvent]], job: str, last: str) -> list[str]:
    states: list[str] = []
    while last not in states:
        states += [event.data["state"] for event in await anext(found) if event.data.get("jobId") == job]
    return states


async def _has_more(live: LiveEvents, than: LiveEvent, count: int) -> bool:
    return await _has_more_than(live, int(than.id.rpartition("-")[2]) + count - 1)


async def _has_more_than(live: LiveEvents, number: int) -> bool:
    return live._number > number


async def _told_last(stack: Stack, live: LiveEvents, after: LiveEvent) -> LiveEvent:
    """Add some runs, and be another reader until the last of them is told."""
    runs = {await add_run(stack) for _ in range(4)}
    async with live.following(after.id) as found:
        async for events in found:
            runs -= {str(event.data.get("id")) for event in events}
            if not runs:
                return events[-1]
    raise AssertionError("the stream ended")
