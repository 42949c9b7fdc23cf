"""Callers that hang up in the middle of a call leave nothing taken (CASES.md B3, the API's half of it)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.api import answer_in_time
from app.samplefeed.faults import Action
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import plain_feed
from tests.support import troubles
from tests.support.api_client import API, ApiClient, api_at, serve
from tests.support.stack import Servers, Stack, open_stack, own_postgres, own_valkey
from tests.support.waiting import eventually

CALLS = (
    "GET /runs",
    "GET /products?q=a",
    "GET /queues/stats",
    "GET /queues/image-upload/jobs",
    "GET /suppliers",
    "GET /feed/check",
    "GET /workers",
    "GET /events",
    "POST /queues/image-upload/pause",
    "POST /queues/image-upload/resume",
)
STILL: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("GET", "/products", {}),
    ("GET", "/suppliers", {}),
    ("GET", "/queues/stats", {}),
    ("POST", "/sync", {"json": {}}),
    ("POST", "/sync", {"json": {"useQueue": False}}),
    ("POST", "/queues/image-upload/pause", {}),
)
CALLS_EACH = 25
ROUNDS = 4
GIVEN_BACK_S = 20.0
SLACK = 3


async def test_a_thousand_callers_that_hang_up_leave_nothing_taken(servers: Servers, tmp_path: Path) -> None:
    with own_valkey(servers, tmp_path) as own:
        async with open_stack(own, tmp_path) as stack, serve(stack.settings) as url:
            host, _, port = urlsplit(url).netloc.partition(":")
            before = await _taken(stack)
            for _ in range(ROUNDS):
                await _burst(host, int(port))
            await eventually(lambda: _is_given_back(stack, before), GIVEN_BACK_S)
            async with api_at(url) as api:
                assert (await api.get("/feed/check"))["ok"] is True
                await api.post("/queues/image-upload/resume")
                assert (await api.post("/sync", {"useQueue": False}))["suppliersProcessed"] == 2


async def test_calls_are_answered_although_postgresql_stands_still(servers: Servers, tmp_path: Path) -> None:
    """Each by itself, one whose statement is on its way already, and those that look whether we are well."""
    async with (
        own_postgres(servers, tmp_path / "own") as own,
        open_stack(own, tmp_path) as stack,
        serve(stack.settings) as url,
        api_at(url) as api,
    ):
        assert stack.settings.database_url is not None
        holder = await asyncpg.connect(stack.settings.database_url.get_secret_value().replace("+asyncpg", ""))
        await holder.execute("BEGIN; LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        under_way = asyncio.create_task(api.http.get(f"{API}/runs"))
        await asyncio.sleep(1.0)  # its statement waits for the lock
        with troubles.frozen(own.postgres.pid):
            async with asyncio.timeout(25):  # far below the 35 s after which a statement is given up
                _, readiness, *_ = await asyncio.gather(
                    api.get("//healthz"),
                    api.problem("GET", "//readyz", 503),
                    *(api.problem(method, path, 503, **kind) for method, path, kind in STILL),
                )
                refused = await under_way
                assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
                assert "stands still" in refused.json()["detail"]
        assert (readiness["database"], readiness["redis"]) == ("down", "up")
        holder.terminate()
        await eventually(lambda: _answers(api))


async def test_calls_are_answered_although_redis_stands_still(servers: Servers, tmp_path: Path) -> None:
    with own_valkey(servers, tmp_path / "own") as own:
        async with open_stack(own, tmp_path) as stack, serve(stack.settings) as url, api_at(url) as api:
            await api.get("//readyz")
            with troubles.frozen(own.valkey.pid):
                async with asyncio.timeout(25):
                    readiness, refused, *_ = await asyncio.gather(
                        api.get("//readyz"),
                        api.problem("POST", "/sync", 503, json={}),
                        api.problem("GET", "/workers", 503),
                        *(api.get(path) for path in ("//healthz", "/products", "/queues/stats", "/runs")),
                    )
            assert readiness == {"database": "up", "redis": "down", "storage": "up"}
            assert "Redis" in refused["detail"]
            assert await stack.value("SELECT count(*) FROM runs") == 0, "nothing was started"


@pytest.mark.parametrize("action", ["slow", "drip"])
async def test_calls_are_answered_although_the_feed_stands_still(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    """Before its first byte and behind it; one that cannot be reached at all is told at once."""
    async with make_stack() as stack, serve(stack.settings) as url, api_at(url) as api:
        await stack.sync()
        stack.feed.hide_supplier("A23")
        await stack.sync("A23")
        guarded = (await api.get("/runs", supplier="A23"))["items"][0]["id"]
        calls: tuple[tuple[str, str, dict[str, object]], ...] = (
            ("GET", "/feed/check", {}),
            ("POST", "/suppliers/discover", {}),
            ("POST", "/sync", {"json": {"dryRun": True}}),
            ("POST", f"/runs/{guarded}/confirm-removals", {}),
        )
        before = await stack.value("SELECT count(*) FROM runs")
        stack.server.faults.add("manifest", action, seconds=300)
        monkeypatch.setattr(answer_in_time, "ANSWER_WITHIN_S", 1.0)
        async with asyncio.timeout(20):  # far below the 40 s after which the feed is given up
            refused = await asyncio.gather(*(api.problem(method, path, 503, **kind) for method, path, kind in calls))
            assert (await api.http.head(f"{API}/feed/check")).status_code == 503
        assert ["nothing came from the feed" in problem["detail"] for problem in refused] == [True] * 4
        assert await stack.value("SELECT count(*) FROM runs") == before, "nothing was started"
        stack.server.faults.clear()
        stack.server.faults.add("manifest", "reset")
        await api.problem("GET", "/feed/check", 502)


async def test_a_feed_that_is_slow_and_goes_on_sending_is_waited_for(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_stack(feed=plain_feed(families=1)) as stack, serve(stack.settings) as url, api_at(url) as api:
        stack.server.faults.add("manifest", "drip", seconds=0.01)
        monkeypatch.setattr(answer_in_time, "ANSWER_WITHIN_S", 1.0)
        began = asyncio.get_running_loop().time()
        assert (await api.get("/feed/check"))["ok"] is True
        assert asyncio.get_running_loop().time() - began > answer_in_time.ANSWER_WITHIN_S


async def _answers(api: ApiClient) -> bool:
    return (await api.http.get(f"{API}/runs")).status_code == 200


async def _burst(host: str, port: int) -> None:
    for _ in range(CALLS_EACH):
        await asyncio.gather(*(_hang_up(host, port, call) for call in CALLS))
    await asyncio.sleep(1)  # what was asked is done


async def _hang_up(host: str, port: int, call: str) -> None:
    """Ask, and be gone before the answer is."""
    method, path = call.split()
    _, writer = await asyncio.open_connection(host, port)
    writer.write(f"{method} {API}{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 0\r\n\r\n".encode())
    await writer.drain()
    await asyncio.sleep(0.001)
    writer.transport.abort()


async def _is_given_back(stack: Stack, before: tuple[int, int]) -> bool:
    """Whether no more is taken than before: what is idle is closed after some seconds."""
    return all(now <= then + SLACK for now, then in zip(await _taken(stack), before, strict=True))


async def _taken(stack: Stack) -> tuple[int, int]:
    """Connections to this database and to this Redis."""
    queue = stack.services.queue
    assert queue is not None
    postgres = await stack.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    return int(postgres), int((await queue.redis.info("clients"))["connected_clients"])
