"""ARQ's own worker command on the same queues: as correct as ours, only slower to notice things."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.samplefeed import FeedSpec, SampleFeed
from tests.support.stack import Servers
from tests.support.truth import assert_as_if_nothing_had_happened
from tests.support.worker_stack import Workers, worker_stack


@contextmanager
def arq_worker(workers: Workers, module: str) -> Iterator[subprocess.Popen[bytes]]:
    """`arq workers.<module>.WorkerSettings`, stopped as an operator would."""
    command = [str(Path(sys.executable).with_name("arq")), f"workers.{module}.WorkerSettings"]
    process = subprocess.Popen(
        command, env={**os.environ, **workers.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


async def test_arqs_own_workers_give_the_same_catalogue(servers: Servers, tmp_path: Path) -> None:
    feed = SampleFeed(FeedSpec.small(count=2, families=2, variants=2))
    async with worker_stack(servers, tmp_path, feed) as workers:
        with ExitStack() as running:
            for module in ("supplier", "family", "image"):
                running.enter_context(arq_worker(workers, module))
            await workers.start()
            await workers.over(60)
            await assert_as_if_nothing_had_happened(workers.stack)


async def test_arqs_worker_and_ours_share_a_queue(servers: Servers, tmp_path: Path) -> None:
    feed = SampleFeed(FeedSpec.small(count=2, families=3, variants=3))
    async with worker_stack(servers, tmp_path, feed) as workers:
        ours = workers.spawn_all()
        with arq_worker(workers, "image"):
            await workers.ready(ours)
            await workers.start()
            await workers.over(60)
            await assert_as_if_nothing_had_happened(workers.stack)
