"""Four processes on a role that may have twelve connections: everything goes on, and the idle ones go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from app.cli.doctor import examine
from app.samplefeed import FeedSpec, SampleFeed
from tests.support.api_client import API, api_client
from tests.support.api_process import api_process
from tests.support.databases import execute
from tests.support.plain_http import plain_client
from tests.support.sessions import sessions_by_process, watched
from tests.support.stack import Servers, Stack
from tests.support.truth import assert_as_if_nothing_had_happened
from tests.support.worker_stack import Workers, until, worker_stack

ROLE = "twelve"
LIMIT = 12
CALLS = ("/runs", "/queues/stats", "/products?limit=5", "/suppliers", "/changes")


@asynccontextmanager
async def few_connections(servers: Servers, folder: Path, pool_size: int) -> AsyncIterator[tuple[Workers, str]]:
    """Workers that come as a role with few connections, and the database's address as nobody in particular."""
    feed = SampleFeed(FeedSpec.small(count=3, families=12, variants=3))
    async with worker_stack(servers, folder, feed) as workers:
        url = workers.stack.settings.database_url
        assert url is not None
        address = url.get_secret_value()
        parts = urlsplit(address)
        await execute(address, f"CREATE ROLE {ROLE} LOGIN SUPERUSER PASSWORD 'twelve'")
        await execute(address, f"ALTER ROLE {ROLE} NOSUPERUSER CONNECTION LIMIT {LIMIT}")
        await execute(address, f"GRANT pg_read_all_data, pg_write_all_data TO {ROLE}")
        workers.standing = {
            "DATABASE_URL": f"{parts.scheme}://{ROLE}:twelve@{parts.hostname}:{parts.port}{parts.path}",
            "DATABASE_POOL_SIZE": str(pool_size),
        }
        try:
            yield workers, address
        finally:
            workers.stop()
            await execute(address, f"DROP ROLE {ROLE}")


async def call_until(over: asyncio.Event, url: str) -> int:
    """Call the API all the time; how many answers came. One that finds no connection in time is a 503."""
    answers = 0
    async with plain_client(base_url=url, timeout=120) as http:
        while not over.is_set():
            for path in CALLS:
                answer = await http.get(f"{API}{path}")
                assert answer.status_code == 200, answer.text
                answers += 1
    return answers


@pytest.mark.parametrize(
    "pool_size", [10, pytest.param(3, marks=pytest.mark.chaos), pytest.param(1, marks=pytest.mark.chaos)]
)
async def test_a_whole_sync_under_a_limit_of_twelve(servers: Servers, tmp_path: Path, pool_size: int) -> None:
    async with few_connections(servers, tmp_path, pool_size) as (workers, address):
        workers.spawn_all()
        environment = {**workers.environment, **workers.standing}
        async with api_process(tmp_path, environment) as (url, api_pid):
            pids = [api_pid, *(worker.pid for worker in workers.all)]
            over = asyncio.Event()
            async with watched(address, ROLE, pids) as watch, asyncio.TaskGroup() as group:
                callers = [group.create_task(call_until(over, url)) for _ in range(4)]
                await workers.start()
                await workers.over()
                over.set()
            assert min(caller.result() for caller in callers) >= len(CALLS)
            assert max(watch.most.values()) <= pool_size, watch
            assert watch.most_together <= LIMIT
            await assert_as_if_nothing_had_happened(workers.stack)
            server = await asyncpg.connect(address.replace("postgresql+asyncpg://", "postgresql://"))
            try:

                async def given_back() -> bool:
                    held = await sessions_by_process(server, ROLE, pids)
                    return held[api_pid] == 0 and max(held.values()) <= 2

                await until(given_back, 60)
            finally:
                await server.close()


async def test_a_full_server_is_503_with_its_limit_and_a_line_of_doctor(stack: Stack) -> None:
    url = stack.settings.database_url
    assert url is not None
    parts = urlsplit(url.get_secret_value())
    await execute(url.get_secret_value(), "CREATE ROLE full_up LOGIN PASSWORD 'full_up' CONNECTION LIMIT 1")
    theirs = f"{parts.scheme}://full_up:full_up@{parts.hostname}:{parts.port}{parts.path}"
    only = await asyncpg.connect(theirs.replace("postgresql+asyncpg://", "postgresql://"))
    try:
        settings = stack.settings.model_copy(update={"database_url": SecretStr(theirs)})
        async with api_client(settings) as api:
            problem = await api.problem("GET", "/runs", 503)
            readiness = await api.problem("GET", "//readyz", 503)
        (finding,) = [found for found in await examine(settings) if found.part == "database"]
        assert (readiness["database"], readiness["redis"]) == ("down", "up")
        for said in (problem["detail"], readiness["detail"], finding.found):
            assert "CONNECTION LIMIT of the role" in said
            assert "0 of DATABASE_POOL_SIZE 10" in said
        assert "DATABASE_POOL_SIZE" in finding.do
    finally:
        await only.close()
        await execute(url.get_secret_value(), "DROP ROLE full_up")
