"""Starting: many callers at once make one run; runs of several suppliers take fair turns."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import Conflict
from app.persistence import ledger
from app.samplefeed import FeedSpec, SampleFeed
from app.samplefeed.spec import SupplierSpec
from app.sync.operating.start import Started, StartRequest
from app.sync.running.direct import sync_direct
from tests.support.stack import Servers, Stack
from tests.support.truth import assert_as_if_nothing_had_happened
from tests.support.worker_stack import Workers, environment_of, until, worker_stack

FIVE_CALLERS = """
import asyncio, json, sys
from app.settings import load_settings
from app.sync.services import open_services
from app.sync.operating.start import StartRequest, start_queued

async def main():
    async with open_services(load_settings()) as services:
        await services.database.check()
        print("ready", flush=True)
        sys.stdin.readline()
        tasks = [asyncio.create_task(start_queued(services, StartRequest(supplier="A23"))) for _ in range(5)]
        started = [run for task in tasks for run in await task]
        print(json.dumps([[run.run_id, run.job_id, run.started] for run in started]))

asyncio.run(main())
"""


async def _callers(stack: Stack) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FIVE_CALLERS,
        env={**os.environ, **environment_of(stack.settings)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def test_ten_starts_of_one_supplier_at_once_over_two_processes_make_one_run(stack: Stack) -> None:
    processes = [await _callers(stack) for _ in range(2)]
    answers: list[list[Any]] = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    for process in processes:
        output, _ = await process.communicate()
        answers += json.loads(output)
    assert len(answers) == 10
    assert len({tuple(answer[:2]) for answer in answers}) == 1
    assert [answer[2] for answer in answers].count(True) == 1
    assert await stack.value("SELECT count(*) FROM runs") == 1
    assert await stack.value("SELECT count(*) FROM jobs") == 1
    with pytest.raises(Conflict):
        await sync_direct(stack.services, StartRequest(supplier="A23"))


async def test_a_paused_queue_keeps_its_jobs_waiting_and_its_workers_quiet(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path) as workers:
        database = workers.stack.services.database

        async def set_paused(paused: bool) -> None:
            async with database.begin() as db:
                await ledger.set_paused(db, "product-family", paused=paused)

        await set_paused(True)
        workers.spawn_all()
        await workers.start()
        await until(
            lambda: workers.stack.rows(
                "SELECT 1 WHERE NOT EXISTS (SELECT FROM jobs WHERE queue = 'supplier-sync' AND state <> 'completed')"
            )
        )
        before = await _calls(workers.stack)
        await asyncio.sleep(3)
        assert await _calls(workers.stack) - before < 150
        states = await workers.stack.rows("SELECT DISTINCT state FROM jobs WHERE queue = 'product-family'")
        assert states == [{"state": "waiting"}]
        workers.of("product-family")[0].kill()
        workers.replace_dead()
        await workers.ready([workers.all[-1]])
        assert await workers.stack.rows("SELECT DISTINCT state FROM jobs WHERE queue = 'product-family'") == states
        await set_paused(False)
        await workers.over()
        await assert_as_if_nothing_had_happened(workers.stack)


async def _calls(stack: Stack) -> int:
    """Script calls that Redis has served: a paused worker must not spin."""
    assert stack.services.queue is not None
    stats = await stack.services.queue.redis.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("evalsha", "bzpopmin"))


@pytest.mark.chaos
async def test_a_small_supplier_does_not_wait_behind_a_large_one(
    servers: Servers, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """CASES.md C1."""
    feed = SampleFeed(
        FeedSpec(
            suppliers=(SupplierSpec("A23", 150), SupplierSpec("A360", 5)),
            variants=3,
            pictures=1,
            small_documents=True,
            small_pictures=True,
            oddities=False,
        )
    )
    async with worker_stack(servers, tmp_path, feed) as workers:
        workers.stack.server.faults.add("picture", "slow", seconds=0.2)
        for queue in ("supplier-sync", "supplier-sync", "product-family", "image-upload"):
            workers.spawn(queue)
        await workers.ready()
        await workers.start()
        await workers.over()
        small_alone_s = await _forced(workers, "A360")
        large_alone_s = await _forced(workers, "A23")
        (large,) = await workers.start("A23", force=True)
        await until(lambda: workers.stack.rows("SELECT 1 FROM jobs WHERE queue = 'image-upload' AND state = 'active'"))
        (small,) = await workers.start("A360", force=True)
        await workers.over()
        small_s, large_s = await _duration_s(workers.stack, small), await _duration_s(workers.stack, large)
        record_property("small alone, beside the large one", (round(small_alone_s, 2), round(small_s, 2)))
        record_property("large alone, beside the small one", (round(large_alone_s, 2), round(large_s, 2)))
        # by what had happened, not by the clock, which a busy machine sets; the ratios are recorded above
        before = await workers.stack.value(
            """
            SELECT count(*) FILTER (WHERE j.finished_at <= s.finished_at) / CAST(count(*) AS float)
            FROM jobs j, runs s WHERE j.run_id = CAST(:large AS uuid) AND s.id = CAST(:small AS uuid)
              AND j.queue = 'image-upload' AND j.finished_at >= s.created_at""",
            large=large.run_id,
            small=small.run_id,
        )
        assert before < 0.5, "the small one waited for most of what the large one had before it"


async def _forced(workers: Workers, supplier: str) -> float:
    (started,) = await workers.start(supplier, force=True)
    await workers.over()
    return await _duration_s(workers.stack, started)


async def _duration_s(stack: Stack, started: Started) -> float:
    seconds = await stack.value(
        "SELECT CAST(EXTRACT(epoch FROM finished_at - created_at) AS float) FROM runs WHERE id = CAST(:id AS uuid)",
        id=started.run_id,
    )
    return float(seconds)
