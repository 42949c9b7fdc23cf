"""ARQ's own worker command on the same queues: as correct as ours, only slower to notice things."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from app.samplefeed import FeedSpec, SampleFeed
from app.sync.operating.workers import workers_now
from tests.support.command_line import environment
from tests.support.forked import start_call
from tests.support.stack import Servers
from tests.support.truth import assert_as_if_nothing_had_happened
from tests.support.waiting import eventually
from tests.support.worker_stack import Workers, worker_stack


@contextmanager
def arq_worker(workers: Workers, folder: Path, module: str) -> Iterator[BaseProcess]:
    """`arq workers.<module>.WorkerSettings`, forked, stopped as an operator would."""
    environment = {**os.environ, **workers.environment}
    process = start_call(
        "arq.cli", "cli", [[f"workers.{module}.WorkerSettings"]], environment, folder / f"{module}.log"
    )
    try:
        yield process
    finally:
        process.terminate()
        process.join(60)
        process.kill()


async def test_arqs_own_workers_give_the_same_catalogue(servers: Servers, tmp_path: Path) -> None:
    feed = SampleFeed(FeedSpec.small(count=2, families=2, variants=2))
    async with worker_stack(servers, tmp_path, feed) as workers:
        with ExitStack() as running:
            for module in ("supplier", "family", "image"):
                running.enter_context(arq_worker(workers, tmp_path, module))
            await workers.start()
            await workers.over()
            await assert_as_if_nothing_had_happened(workers.stack)


async def test_arqs_worker_and_ours_share_a_queue(servers: Servers, tmp_path: Path) -> None:
    feed = SampleFeed(FeedSpec.small(count=2, families=3, variants=3))
    async with worker_stack(servers, tmp_path, feed) as workers:
        ours = workers.spawn_all()
        with arq_worker(workers, tmp_path, "image"):
            await workers.ready(ours)
            await workers.start()
            await workers.over()
            await assert_as_if_nothing_had_happened(workers.stack)


async def test_arqs_worker_is_among_the_live_ones_until_it_ends(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path, SampleFeed(FeedSpec.small(count=1, families=1, variants=1))) as workers:

        async def seen() -> list[tuple[str, int | None, int]]:
            live = await workers_now(workers.stack.services)
            return [(worker.queue_name, worker.pid, worker.concurrency) for worker in live]

        async def is_listed(pid: int | None) -> bool:
            return await seen() == [("image-upload", pid, workers.stack.settings.concurrency_images)]

        with arq_worker(workers, tmp_path, "image") as process:
            await eventually(lambda: is_listed(process.pid))
        assert await seen() == []


def refused(**given: str) -> str:
    """What `arq` says that cannot start, its own log lines apart."""
    ended = subprocess.run(
        [str(Path(sys.executable).with_name("arq")), "workers.supplier.WorkerSettings"],
        check=False,
        env=environment(**given),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    return "\n".join(line for line in ended.stderr.splitlines() if line.startswith("promidata-sync: "))


def test_a_start_that_fails_is_told_by_its_own_cause_in_one_line(servers: Servers) -> None:
    redis = servers.valkey.url
    assert refused(REDIS_URL=redis).startswith("promidata-sync: DATABASE_URL is not set: ")
    assert refused() == "promidata-sync: REDIS_URL is not set: a worker takes its jobs from Redis"
    assert "LEASE_S: should be a number" in refused(REDIS_URL=redis, LEASE_S="never")


def test_a_redis_that_is_not_there_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    said = refused(REDIS_URL=f"redis://:hidden@127.0.0.1:{port}/0", DATABASE_URL="postgresql://a:hidden@127.0.0.1:1/a")
    assert said.startswith("promidata-sync: REDIS_URL: Redis cannot be used: ")
    assert "hidden" not in said
