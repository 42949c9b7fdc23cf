"""A process that runs a direct sync dies: its run ends as failed within the lease, and blocks nobody longer."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from app.sync.running.abandoned import AbandonedRuns
from tests.conftest import MakeStack
from tests.support.truth import assert_catalogue_equals_feed, assert_nothing_left_over
from tests.support.worker_stack import environment_of, until

DIRECT = """
import asyncio
from app.settings import load_settings
from app.sync.running.direct import sync_direct
from app.sync.services import open_services
from app.sync.operating.start import StartRequest

async def main():
    async with open_services(load_settings()) as services:
        await sync_direct(services, StartRequest(supplier="A23"))

asyncio.run(main())
"""
LEASE_S = 15


@pytest.mark.chaos
async def test_a_killed_direct_sync_ends_failed_once_and_the_next_one_brings_the_rest(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    async with make_stack() as stack:
        stack.server.faults.add("picture", "slow", seconds=60)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", DIRECT, env={**os.environ, **environment_of(stack.settings)}
        )
        await until(lambda: stack.server.log.counts.get("picture", 0) > 0, 30)
        process.kill()
        await process.wait()
        killed_at = time.monotonic()
        stack.server.faults.clear()
        lookers = [AbandonedRuns(stack.services.database) for _ in range(2)]
        while not await stack.value("SELECT bool_and(finished_at IS NOT NULL) FROM runs"):
            assert time.monotonic() - killed_at < 20 * LEASE_S
            await asyncio.sleep(0.5)
            await asyncio.gather(*[looker.look() for looker in lookers])
        (run,) = await stack.rows("SELECT status, error, open_jobs FROM runs")
        assert (run["status"], run["open_jobs"]) == ("failed", 0)
        assert "is gone" in run["error"]
        await stack.sync("A23")
        await assert_nothing_left_over(stack)
        await assert_catalogue_equals_feed(stack, "A23")
