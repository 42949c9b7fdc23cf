"""What a sync loses while the whole catalogue is read (F11): the export has a core to itself, everything else another.

    forced syncs alone, and beside exports that follow each other, in turn
    core 1: the API, the session that it reads through, the reader │ core 2: PostgreSQL, Valkey, the workers, the origin

On one core with the export a sync would lose what the export takes of it, which says nothing of how they get on: what
is asked is what an export costs a sync beside its own core, by locks, caches, buffers and the disk.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx
import psutil

from app.jobs.definitions import QUEUES
from app.sync.operating.start import StartRequest, start_queued
from bench.ground import Feed, Ground, Process, until, workers
from bench.report import Figure

ROUNDS, SYNCS = 3, 4
MOST_SLOWER = 0.1
LOOK_EVERY_S = 0.5
"""For sessions of the API that are new: looking costs something, too."""


@dataclass(frozen=True)
class Beside:
    """Seconds of forced syncs."""

    alone_s: list[float]
    beside_s: list[float]
    exports: int
    """That were begun meanwhile."""

    def figure(self) -> Figure:
        """What a sync loses."""
        slower = statistics.median(self.beside_s) / statistics.median(self.alone_s) - 1
        goal = f"< {MOST_SLOWER:.0%}"
        return Figure(
            "F11", "a sync beside it, on another core, is slower by", f"{slower:.1%}", goal, slower < MOST_SLOWER
        )

    def remark(self) -> str:
        """How it was measured."""
        alone, beside = (sorted(seconds) for seconds in (self.alone_s, self.beside_s))
        return (
            f"Forced syncs of 40 families of another supplier, all on the last core: {alone[0]:.2f} to {alone[-1]:.2f} "
            f"s alone, {beside[0]:.2f} to {beside[-1]:.2f} s beside {self.exports} exports on the first, in turn."
        )


async def measure_beside(ground: Ground, feed: Feed, api: Process, read: httpx.AsyncClient, supplier: str) -> Beside:
    """Sync `supplier` by force, alone and beside exports; the API is on the first core already."""
    cores = sorted(psutil.Process().cpu_affinity() or [0])
    alone: list[float] = []
    beside: list[float] = []
    exports = 0
    async with workers(ground, QUEUES) as running:
        servers = (ground.servers.postgres.pid, ground.servers.valkey.pid)
        _keep_on(cores[-1:], [*servers, feed.process.pid, *(process.pid for process in running.values())])
        _keep_on(cores[:1], [os.getpid()])  # which waits, looks and reads
        await _forced(ground, supplier)
        for _ in range(ROUNDS):
            alone.extend([await _forced(ground, supplier) for _ in range(SYNCS)])
            async with _exporting(ground, api, read, cores[:1]) as begun:
                beside.extend([await _forced(ground, supplier) for _ in range(SYNCS)])
            exports += len(begun)
    _keep_on(cores, [*servers, os.getpid()])
    return Beside(alone, beside, exports)


async def _forced(ground: Ground, supplier: str) -> float:
    """Seconds from the start of a run to its end, as its rows have them."""
    await start_queued(ground.services, StartRequest(supplier=supplier, force=True))

    async def is_over() -> bool:
        return not await ground.rows("SELECT FROM runs WHERE finished_at IS NULL")

    await until(is_over, look_every_s=0.1)
    (run,) = await ground.rows(
        "SELECT status, EXTRACT(epoch FROM finished_at - created_at)::float8 AS took FROM runs "
        "ORDER BY created_at DESC LIMIT 1"
    )
    if run["status"] != "completed":
        raise RuntimeError(f"the run beside the export ended {run['status']}")
    return float(run["took"])


@asynccontextmanager
async def _exporting(
    ground: Ground, api: Process, read: httpx.AsyncClient, cores: list[int]
) -> AsyncIterator[list[float]]:
    """Exports one after the other, each begun noted."""
    begun: list[float] = []

    async def export() -> None:
        while True:
            begun.append(asyncio.get_running_loop().time())
            async with read.stream("GET", "/api/v1/products") as answer:
                answer.raise_for_status()
                async for _ in answer.aiter_raw():
                    pass

    async def keep_its_sessions_on() -> None:
        while True:
            _keep_on(cores, await _sessions_of(ground, api.pid))
            await asyncio.sleep(LOOK_EVERY_S)

    tasks = [asyncio.create_task(export()), asyncio.create_task(keep_its_sessions_on())]
    await asyncio.sleep(1.0)  # it is under way
    try:
        yield begun
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _sessions_of(ground: Ground, pid: int) -> list[int]:
    """The backends that a process is connected to, by both ports: one to Redis may have the same on its side."""
    (server,) = await ground.rows("SELECT inet_server_port() AS port")
    open_now = psutil.Process(pid).net_connections("tcp")
    ports = [end.laddr.port for end in open_now if end.laddr and end.raddr and end.raddr.port == server["port"]]
    rows = await ground.rows("SELECT pid FROM pg_stat_activity WHERE client_port = ANY($1::int[])", ports)
    return [row["pid"] for row in rows]


def _keep_on(cores: list[int], pids: Iterable[int]) -> None:
    """These processes, their children and threads, on these cores; what they start later, too."""
    for pid in pids:
        with suppress(psutil.Error):
            parent = psutil.Process(pid)
            for process in (parent, *(parent.children(recursive=True) if pid != os.getpid() else ())):
                for thread in process.threads():
                    with suppress(OSError):
                        os.sched_setaffinity(thread.id, cores)
