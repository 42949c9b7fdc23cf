"""As it is deployed: `uvicorn app.main:app` and three `promidata-sync worker`, on servers that are there."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from app.samplefeed import FeedSpec, SampleFeed
from tests.conftest import MakeStack
from tests.support.api_client import ApiClient
from tests.support.command_line import environment_of
from tests.support.plain_http import plain_client
from tests.support.truth import assert_as_if_nothing_had_happened

COMMANDS = Path(sys.executable).parent
"""Where the environment's commands are, as a shell would find them."""
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def running(env: Mapping[str, str], *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command until the block ends; then SIGTERM, on which it must exit with 0, or by it, as uvicorn's own does."""
    process = await asyncio.create_subprocess_exec(
        COMMANDS / command[0], *command[1:], env=env, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode in {0, -signal.SIGTERM}, said.decode()


async def _address(process: asyncio.subprocess.Process) -> str:
    """What uvicorn says that it listens on."""
    assert process.stderr is not None
    async for line in process.stderr:
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", line.decode())
        if found:
            return found[1]
    raise AssertionError("uvicorn ended")


async def test_uvicorn_and_three_workers_give_the_feeds_catalogue(make_stack: MakeStack) -> None:
    feed = SampleFeed(FeedSpec.small(count=2, families=4, variants=3))
    async with make_stack(feed) as stack, AsyncExitStack() as processes:
        env = environment_of(stack)
        server = await processes.enter_async_context(running(env, "uvicorn", "app.main:app", "--port", "0"))
        for queue in ("supplier", "family", "image"):
            await processes.enter_async_context(running(env, "promidata-sync", "worker", queue))
        async with plain_client(base_url=await _address(server), timeout=30) as http:
            api = ApiClient(http)
            started = await api.post("/sync", expect=202)
            runs = [await _finished(api, job["runId"]) for job in started["jobs"]]
            assert [run["status"] for run in runs] == ["completed", "completed"]
            assert len((await api.get("/products", limit=500))["items"]) == await stack.value(
                "SELECT count(*) FROM products"
            )
        await assert_as_if_nothing_had_happened(stack)


async def _finished(api: ApiClient, run_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            run: dict[str, Any] = await api.get(f"/runs/{run_id}")
            if run["finishedAt"] is not None:
                return run
            await asyncio.sleep(0.1)
