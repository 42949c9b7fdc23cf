"""The API under load beside a sync of 200 families, and with 1,000 slow clients: what calls take, what the sync loses.

    sync alone │ load (locust) that starts syncs itself │ sync alone │ load │ ... ─▶ 1,000 slow clients beside the load

A family's price changes each second, so that exports, products and changes have something new. What a sync takes is
its run's own time, from the call to the last picture; a run that is under way when the load stops counts for neither.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import psutil

from app.cli.die_with_parent import wrap
from app.jobs.definitions import QUEUES
from app.sync.operating.discovery import discover
from app.sync.operating.start import StartRequest, start_queued
from bench import load_report
from bench.api_process import serving_api
from bench.ground import Feed, Ground, Servers, fresh_ground, serving_feed, until, workers
from bench.load_report import Held, Loaded, Slow, Synced, Told
from bench.report import Section

MINUTES, QUICK_MINUTES = 5.0, 0.1
SEGMENTS = 3
FAMILIES, QUICK_FAMILIES = 200, 10
SLOW_CLIENTS, SLOW_S, QUICK_SLOW_S = 1000, 25.0, 6.0
LATENCY_MS = 20
CALLERS = 59
"""All of `load_users.CALLERS`, which cannot be imported here: gevent would patch this process."""
USERS = Path(__file__).with_name("load_users.py")
GIVEN_BACK_WITHIN_S = 45.0
SLACK = 5


@dataclass
class Scene:
    """What all phases share."""

    ground: Ground
    feed: Feed
    base: str
    api: psutil.Process
    by_queue: Mapping[str, psutil.Process]
    skus: Sequence[str] = field(default_factory=list)

    def held(self) -> Held:
        """What the API's process holds now."""
        return Held(self.api.memory_info().rss / 2**20, self.api.num_fds(), sum(self.api.cpu_times()[:2]))

    def workers_cpu_s(self) -> float:
        """Of all workers until now."""
        return float(sum(sum(process.cpu_times()[:2]) for process in self.by_queue.values()))


def measure(servers: Servers, *, quick: bool, minutes: float | None = None) -> Section:
    """The part `load`."""
    families = QUICK_FAMILIES if quick else FAMILIES
    seconds = 60 * (minutes or (QUICK_MINUTES if quick else MINUTES))
    size = ["--suppliers", "1", "--families", str(families), "--variants", "4", "--pictures", "3", "--small-pictures"]
    with serving_feed(*size, "--latency-ms", str(LATENCY_MS)) as feed:
        return asyncio.run(_measure(servers, feed, seconds, QUICK_SLOW_S if quick else SLOW_S))


async def _measure(servers: Servers, feed: Feed, seconds: float, slow_s: float) -> Section:
    async with (
        fresh_ground(servers, feed.base_url) as ground,
        workers(ground, QUEUES) as running,
        serving_api(ground) as (base, process),
    ):
        by_queue = {name: psutil.Process(worker.pid) for name, worker in running.items()}
        scene = Scene(ground, feed, base, psutil.Process(process.pid), by_queue)
        await discover(ground.services)
        await _sync_alone(scene, force=False)
        scene.skus = [row["sku"] for row in await ground.rows("SELECT sku FROM products ORDER BY sku")]
        async with _changing(scene):
            segments = SEGMENTS if seconds >= 60 else 1
            await _loaded(scene, min(5.0, seconds))  # what is kept, is kept from here on
            before = scene.held()
            alone, loaded = [await _sync_alone(scene)], []
            for _ in range(segments):
                loaded.append(await _loaded(scene, seconds / segments))
                alone.append(await _sync_alone(scene))
            after = scene.held()
            slow = await _beside_slow_clients(scene, slow_s)
    return load_report.section(len(scene.skus), LATENCY_MS, alone, loaded, (before, after), slow)


async def _sync_alone(scene: Scene, *, force: bool = True) -> Synced:
    cpu_s = scene.workers_cpu_s()
    await start_queued(scene.ground.services, StartRequest(force=force))
    await until(lambda: _is_quiet(scene.ground), look_every_s=0.1)
    (wall_s,) = [row["wall_s"] for row in await scene.ground.rows(f"{RUNS} ORDER BY finished_at DESC LIMIT 1")]
    return Synced(wall_s, scene.workers_cpu_s() - cpu_s)


RUNS = """SELECT id, status, EXTRACT(epoch FROM finished_at - created_at)::float8 AS wall_s FROM runs
    WHERE finished_at IS NOT NULL"""


async def _is_quiet(ground: Ground) -> bool:
    return not (await ground.rows("SELECT count(*) AS open FROM runs WHERE finished_at IS NULL"))[0]["open"]


async def _loaded(scene: Scene, seconds: float) -> Loaded:
    """The load for so long, with what the syncs that ended meanwhile took."""
    syncs: list[Synced] = []
    statuses: list[str] = []
    watching = asyncio.create_task(_watch_runs(scene, syncs, statuses))
    before = scene.held()
    try:
        told = await _told_by_locust(scene, seconds)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    api_cpu_s = scene.held().cpu_s - before.cpu_s
    await until(lambda: _is_quiet(scene.ground), look_every_s=0.1)
    return Loaded(seconds, told, syncs, statuses, api_cpu_s)


async def _watch_runs(scene: Scene, syncs: list[Synced], statuses: list[str]) -> None:
    """Note each run that ends from now on."""
    known = {row["id"] for row in await scene.ground.rows(RUNS)}
    cpu_s = scene.workers_cpu_s()
    while True:
        await asyncio.sleep(0.1)
        for row in await scene.ground.rows(f"{RUNS} ORDER BY finished_at"):
            if row["id"] not in known:
                known.add(row["id"])
                cpu_s, was = scene.workers_cpu_s(), cpu_s
                syncs.append(Synced(row["wall_s"], cpu_s - was))
                statuses.append(row["status"])


async def _told_by_locust(scene: Scene, seconds: float) -> Told:
    told_to = scene.ground.folder / "load.json"
    (job,) = await scene.ground.rows(
        "SELECT id FROM jobs WHERE queue = 'supplier-sync' ORDER BY created_at DESC LIMIT 1"
    )
    own = {"LOAD_TO": str(told_to), "LOAD_JOB": job["id"], "LOAD_SKUS": orjson.dumps(scene.skus).decode()}
    process = await asyncio.create_subprocess_exec(
        *wrap(
            [sys.executable, "-m", "locust", "-f", str(USERS), "--headless", "--only-summary"], signum=signal.SIGKILL
        ),
        *("--host", scene.base, "--users", str(CALLERS), "--spawn-rate", str(CALLERS)),
        *("--run-time", f"{seconds:.0f}s", "--stop-timeout", "10", "--exit-code-on-error", "0"),
        *("--loglevel", "WARNING"),
        env={**os.environ, **own},
        stdout=subprocess.DEVNULL,
    )
    if await process.wait():
        raise RuntimeError(f"locust ended with {process.returncode}")
    return Told(**orjson.loads(told_to.read_bytes()))


@asynccontextmanager
async def _changing(scene: Scene) -> AsyncIterator[None]:
    """While the block runs, a price changes in the feed each second."""
    changing = asyncio.create_task(_change_prices(scene))
    try:
        yield
    finally:
        changing.cancel()
        await asyncio.wait([changing])


async def _change_prices(scene: Scene) -> None:
    (documents,) = [await scene.ground.rows("SELECT sku FROM variants ORDER BY sku")]
    for row in itertools.cycle(documents):
        await asyncio.to_thread(scene.feed.change, "change_price", row["sku"])
        await asyncio.sleep(1.0)


async def _beside_slow_clients(scene: Scene, seconds: float) -> Slow:
    before = scene.held()
    async with _slow_clients(scene) as clients:
        loaded = await _loaded(scene, seconds)
        during = scene.held()
        seen, _ = await clients.communicate(b"")
    with suppress(TimeoutError):
        async with asyncio.timeout(GIVEN_BACK_WITHIN_S):
            await until(lambda: _is_given_back(scene, before), look_every_s=0.2)
    return Slow(SLOW_CLIENTS, loaded, orjson.loads(seen), before, during, scene.held())


@asynccontextmanager
async def _slow_clients(scene: Scene) -> AsyncIterator[asyncio.subprocess.Process]:
    clients = await asyncio.create_subprocess_exec(
        *wrap(
            [sys.executable, "-m", "bench.slow_clients", str(urlsplit(scene.base).port), str(SLOW_CLIENTS)],
            signum=signal.SIGKILL,
        ),
        env=scene.ground.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert clients.stdout is not None
        await clients.stdout.readline()
        yield clients
    finally:
        if clients.returncode is None:
            clients.kill()
            await clients.wait()


async def _is_given_back(scene: Scene, before: Held) -> bool:
    return scene.held().descriptors <= before.descriptors + SLACK
