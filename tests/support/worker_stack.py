"""A stack whose jobs are run by worker processes of their own, which a test may kill, freeze and replace.

test process: feed server, services, comparison      worker processes: `workers.start.main(queue)`, forked
               └───────────── the session's PostgreSQL and Valkey, or servers of the test's own ─────┘
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr

from app.errors import DatabaseUnavailable, PromidataSyncError
from app.jobs.definitions import QUEUES
from app.samplefeed import SampleFeed
from app.settings import Settings
from app.sync.operating.start import Started, StartRequest, start_queued
from tests.support.forked import start_worker
from tests.support.stack import Servers, Stack, open_stack

UNDER_WAY = ("queued", "running", "cancelling")
SAID_AT_LAST = 3_000
"""Characters of a worker's log that go with a failure."""
JOBS_BY_STATE = "SELECT run_id, queue, state, count(*), max(attempts), max(deaths) FROM jobs GROUP BY 1, 2, 3"
QUEUE_NAMES: tuple[str, ...] = QUEUES


@dataclass(eq=False)
class WorkerProcess:
    """One worker process."""

    queue: str
    process: BaseProcess
    log: Path
    replaced: bool = False

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.is_alive()

    @property
    def ended_with(self) -> int | None:
        """Its exit code, a signal's number below zero; None while it runs."""
        return self.process.exitcode

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.join(10)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def is_frozen(self) -> bool:
        return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def terminate(self) -> None:
        self.process.terminate()

    async def exit_code(self, timeout_s: float = 20.0) -> int:
        """Its exit code, once it has ended."""
        await until(lambda: not self.running, timeout_s)
        assert self.ended_with is not None
        return self.ended_with

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class Workers:
    """Worker processes on one stack."""

    stack: Stack
    folder: Path
    environment: Mapping[str, str]
    standing: Mapping[str, str] = field(default_factory=dict)
    """What every worker from now on has in its environment, too."""
    prelude: str = ""
    """What every worker from now on runs first."""
    all: list[WorkerProcess] = field(default_factory=list)

    def spawn(self, queue: str, **environment: str) -> WorkerProcess:
        log = self.folder / f"worker-{len(self.all)}-{queue}.log"
        log.touch()
        everything = {**os.environ, **self.environment, **self.standing, **environment}
        worker = WorkerProcess(queue, start_worker(queue, everything, log, self.prelude), log)
        self.all.append(worker)
        return worker

    def spawn_all(self, **environment: str) -> list[WorkerProcess]:
        """One worker a queue."""
        return [self.spawn(queue, **environment) for queue in QUEUE_NAMES]

    def replace_dead(self) -> None:
        """Start a worker in place of each that ended, as `up` does."""
        for worker in [worker for worker in self.all if not worker.running and not worker.replaced]:
            worker.replaced = True
            self.spawn(worker.queue)

    async def keep_alive(self) -> None:
        """Replace the dead until cancelled."""
        while True:
            self.replace_dead()
            await asyncio.sleep(0.1)

    def of(self, queue: str) -> list[WorkerProcess]:
        return [worker for worker in self.all if worker.queue == queue and worker.running]

    async def ready(self, workers: Iterable[WorkerProcess] | None = None, timeout_s: float = 120.0) -> None:
        """Wait until they take jobs."""
        for worker in list(self.all if workers is None else workers):
            await until(lambda worker=worker: "worker ready" in worker.said() or not worker.running, timeout_s)  # type: ignore[misc]
            assert worker.running, worker.said()

    async def start(self, supplier: str | None = None, **options: Any) -> list[Started]:
        """Start queued runs."""
        return await start_queued(self.stack.services, StartRequest(supplier=supplier, **options))

    async def over(self, timeout_s: float = 180.0) -> list[dict[str, Any]]:
        """Wait until no run is under way; returns the runs, the newest first."""
        deadline = time.monotonic() + timeout_s
        while True:
            with suppress(DatabaseUnavailable):
                runs = await self.stack.rows("SELECT * FROM runs ORDER BY created_at DESC")
                if all(run["status"] not in UNDER_WAY for run in runs):
                    return runs
            assert time.monotonic() < deadline, await self._stuck()
            await asyncio.sleep(0.1)

    async def _stuck(self) -> str:
        jobs = await self.stack.rows(
            "SELECT queue, state, count(*), min(error) AS error, max(attempts) AS attempts, max(deaths) AS deaths "
            "FROM jobs GROUP BY queue, state ORDER BY 1, 2"
        )
        runs = await self.stack.rows("SELECT status, open_jobs, error FROM runs")
        tails = "\n".join(f"--- {worker.queue}\n{worker.said()[-1500:]}" for worker in self.all[-6:])
        return f"still under way: {runs}\n{jobs}\n{tails}"

    def stop(self) -> None:
        for worker in self.all:
            if worker.running:
                worker.thaw()
                worker.kill()


async def until(condition: Callable[[], object], timeout_s: float = 60.0, every_s: float = 0.02) -> None:
    """Wait until `condition` holds; it may be a coroutine function."""
    deadline = time.monotonic() + timeout_s
    while not await _value(condition()):
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(every_s)


async def _value(answer: object) -> object:
    return await answer if inspect.isawaitable(answer) else answer


@asynccontextmanager
async def worker_stack(
    servers: Servers,
    folder: Path,
    feed: SampleFeed | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[Workers]:
    """A stack, and the means to run workers on it."""
    async with open_stack(servers, folder, feed, **settings) as stack:
        workers = Workers(stack, folder, {**environment_of(stack.settings), **(environment or {})})
        try:
            yield workers
        except Exception as error:
            error.add_note(await _state_of(workers))
            raise
        finally:
            workers.stop()


async def _state_of(workers: Workers) -> str:
    """What tells a failure's cause from a log alone: runs, jobs, the end of what each worker said."""
    lines = [f"{worker.queue} (exit {worker.ended_with}): {worker.said()[-SAID_AT_LAST:]}" for worker in workers.all]
    with suppress(PromidataSyncError):
        lines += [str(row) for row in await workers.stack.rows("SELECT id, status, open_jobs, error FROM runs")]
        lines += [str(row) for row in await workers.stack.rows(JOBS_BY_STATE)]
    return "\n".join(lines)


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment that gives a worker process these settings."""
    given = settings.model_dump(exclude_unset=True)
    return {name.upper(): _text(value) for name, value in given.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, (tuple, list)):
        return ",".join(str(part) for part in value)
    return str(value)
