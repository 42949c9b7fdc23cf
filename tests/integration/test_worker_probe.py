"""The probe beside real workers: well while they work or wait in an outage, not when their loop is stuck."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from app.coordination.heartbeats import live_workers
from tests.support.stack import Servers, own_postgres, own_valkey, postgres_again, valkey_again
from tests.support.worker_stack import Workers, until, worker_stack
from workers import probe

BLOCKING = """
import sys, time, workers.runtime
run = workers.runtime.Worker.run
def block():
    print("the loop blocks", file=sys.stderr, flush=True)
    time.sleep(3600)
async def run_and_block(self):
    self._loop.call_later(0.5, block)
    await run(self)
workers.runtime.Worker.run = run_and_block
"""


def _beat(path: Path) -> dict[str, Any]:
    beat: dict[str, Any] = json.loads(path.read_text())
    return beat


async def _beats(path: Path, count: int) -> None:
    """Wait until the pulse came so many times more."""
    for _ in range(count):
        before = _beat(path)["at"]
        await until(lambda before=before: _beat(path)["at"] != before, 30)  # type: ignore[misc]


async def _asked(worker_pid: int, path: Path) -> tuple[int, str]:
    """What the health check's program says of a real process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "workers.probe",
        str(worker_pid),
        env={"WORKER_PROBE_FILE": str(path)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    return process.returncode or 0, said.decode()


@pytest.mark.parametrize("queue", ["supplier-sync", "product-family", "image-upload"])
async def test_an_idle_worker_is_well_and_takes_its_pulse_along(servers: Servers, tmp_path: Path, queue: str) -> None:
    path = tmp_path / "worker.probe"
    async with worker_stack(servers, tmp_path) as workers:
        worker = workers.spawn(queue, WORKER_PROBE_FILE=str(path))
        await workers.ready()
        await _beats(path, 2)
        assert probe.pulse_complaint(str(path)) is None
        worker.terminate()
        assert await worker.exit_code() == 0
        assert not path.exists()


async def test_a_frozen_worker_falls_silent(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "worker.probe"
    async with worker_stack(servers, tmp_path) as workers:
        worker = workers.spawn("image-upload", WORKER_PROBE_FILE=str(path))
        await workers.ready()
        await _beats(path, 1)
        worker.freeze()
        await until(worker.is_frozen)
        at = _beat(path)["at"]
        assert "event loop" in str(probe.pulse_complaint(str(path), now=at + probe.SILENT_S + 1))
        worker.thaw()
        await _beats(path, 1)
        assert probe.pulse_complaint(str(path)) is None


async def test_a_stuck_loop_is_found_while_the_heart_still_beats(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "worker.probe"
    async with worker_stack(servers, tmp_path) as workers:
        workers.prelude = BLOCKING
        worker = workers.spawn("image-upload", WORKER_PROBE_FILE=str(path))
        await until(lambda: "the loop blocks" in worker.said())
        beats = {await _heartbeat(workers)}
        at = _beat(path)["at"]

        async def heart_beat_on() -> bool:
            beats.add(await _heartbeat(workers))
            return len(beats) >= 4

        await until(heart_beat_on, 30)
        assert _beat(path)["at"] == at
        assert "event loop" in str(probe.pulse_complaint(str(path), now=at + probe.SILENT_S + 1))


async def _heartbeat(workers: Workers) -> str:
    queue = workers.stack.services.queue
    assert queue is not None
    return "".join(worker.last_heartbeat_at for worker in await live_workers(queue.redis))


async def test_a_worker_that_waits_for_redis_is_well_before_during_and_after(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "worker.probe"
    with own_valkey(servers, tmp_path / "valkey") as own:
        async with worker_stack(own, tmp_path) as workers:
            worker = workers.spawn("image-upload", WORKER_PROBE_FILE=str(path))
            await workers.ready()
            own.valkey.stop()
            await until(lambda: "waiting for a part of ours" in worker.said())
            await _beats(path, 3)
            assert probe.pulse_complaint(str(path)) is None
            assert worker.running
            valkey_again(own, tmp_path / "valkey")
            await _beats(path, 2)
            assert probe.pulse_complaint(str(path)) is None


async def test_a_worker_that_waits_for_postgresql_is_well(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "worker.probe"
    async with own_postgres(servers, tmp_path / "postgres") as own, worker_stack(own, tmp_path) as workers:
        worker = workers.spawn("supplier-sync", WORKER_PROBE_FILE=str(path))
        await workers.ready()
        own.postgres.stop()
        await until(lambda: "waiting for a part of ours" in worker.said())
        await _beats(path, 3)
        assert probe.pulse_complaint(str(path)) is None
        assert worker.running
        postgres_again(own, tmp_path / "postgres")


async def test_a_file_that_cannot_be_written_ends_the_start_with_one_line(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path) as workers:
        worker = workers.spawn("image-upload", WORKER_PROBE_FILE=str(tmp_path / "nowhere" / "probe"))
        assert await worker.exit_code() == 1
        said = worker.said().strip()
        assert said.startswith("promidata-sync worker: WORKER_PROBE_FILE: ")
        assert said.count("\n") == 0


async def test_the_health_program_asks_a_process_by_what_it_runs(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "worker.probe"
    async with worker_stack(servers, tmp_path, environment={"WORKER_PROBE_FILE": str(path)}) as workers:
        command = [sys.executable, "-m", "app.cli.main", "worker", "image"]
        worker = await asyncio.create_subprocess_exec(
            *command, env=workers.environment, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await until(path.exists)
            assert await _asked(worker.pid, path) == (0, "")
            code, said = await _asked(worker.pid, tmp_path / "another")
            assert code == 1
            assert said.startswith("promidata-health: ")
        finally:
            worker.terminate()
            await worker.wait()
