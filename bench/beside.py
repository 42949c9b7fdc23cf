"""The API beside a running sync: how long its calls take while families and pictures arrive.

    one sync of 200 families ─▶ the same by force, again and again, and meanwhile, one after the other:
        an endpoint that does nothing │ startSync 500 times │ getJobStatus │ a product, each 200 times a second

Calls are sent by the clock whether the ones before are answered or not, so waiting shows in the figures. The products
are asked for in turn, so each is built once and, unless it changes, given out as it was built from then on.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import psutil

from app.jobs.definitions import QUEUES
from app.sync.operating.discovery import discover
from app.sync.operating.start import StartRequest, start_queued
from bench.api_process import serving_api
from bench.ground import Ground, Servers, fresh_ground, serving_feed, until, workers
from bench.plots import Plot
from bench.report import Figure, Section, Table

RATE = 200
FORCED = {"force": True}
"""As the syncs beside it: where a call starts one, that is another of those that are timed."""
SECONDS, STARTS = 15.0, 500
LATENCY_S = 0.02
GOALS_MS = {"startSync": 50.0, "getJobStatus": 25.0, "a product": 25.0}


@dataclass(frozen=True)
class Answers:
    """How long calls of one kind took, in milliseconds, and how many were no success."""

    took_ms: list[float]
    errors: int
    cpu_ms: float
    """Of the API's process, a call."""

    def at(self, share: float) -> float:
        """The quantile."""
        return sorted(self.took_ms)[min(len(self.took_ms) - 1, int(share * len(self.took_ms)))]


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `beside`."""
    families = 10 if quick else 200
    options = [
        "--suppliers",
        "1",
        "--families",
        str(families),
        "--variants",
        "4",
        "--pictures",
        "3",
        "--small-pictures",
    ]
    with serving_feed(*options) as feed:
        feed.set_habits(latency_s=LATENCY_S)
        return asyncio.run(_measure(servers, feed.base_url, 1.0 if quick else SECONDS, 20 if quick else STARTS))


async def _measure(servers: Servers, base_url: str, seconds: float, starts: int) -> Section:
    async with (
        fresh_ground(servers, base_url) as ground,
        workers(ground, QUEUES),
        serving_api(ground) as (base, process),
        aiohttp.ClientSession(
            f"{base}/api/v1/", connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
        ) as http,
    ):
        await discover(ground.services)
        alone = await synced(ground)
        forced_alone = await synced(ground, force=True)
        walls: list[float] = []
        syncing = asyncio.create_task(_sync_on(ground, walls))
        try:
            answers = await _ask_all(ground, Asker(http, process.pid), seconds, starts)
        finally:
            syncing.cancel()
            await asyncio.wait([syncing])
    return _section(answers, alone, forced_alone, walls)


class Asker:
    """Asks the API at some rate, and looks at what that costs its process."""

    def __init__(self, http: aiohttp.ClientSession, pid: int) -> None:
        self.http = http
        self._process = psutil.Process(pid)

    async def at_rate(self, ask: Callable[[], Any], rate: float, number: int) -> Answers:
        """Ask so many times, by the clock."""
        cpu = self._cpu_ms()
        began = time.perf_counter()
        tasks = []
        for call in range(number):
            await asyncio.sleep(max(0.0, began + call / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(_one(ask)))
        found = await asyncio.gather(*tasks)
        errors = sum(not succeeded for _, succeeded in found)
        return Answers([took for took, _ in found], errors, (self._cpu_ms() - cpu) / number)

    def _cpu_ms(self) -> float:
        return float(sum(self._process.cpu_times()[:2])) * 1000


async def _ask_all(ground: Ground, asker: Asker, seconds: float, starts: int) -> dict[str, Answers]:
    await asyncio.sleep(0.5)  # the sync is under way
    (job,) = await ground.rows("SELECT id FROM jobs WHERE queue = 'supplier-sync' ORDER BY created_at DESC LIMIT 1")
    skus = itertools.cycle([row["sku"] for row in await ground.rows("SELECT sku FROM products ORDER BY sku")])
    http, number = asker.http, int(RATE * seconds)
    return {
        "nothing": await asker.at_rate(lambda: http.get("/healthz"), RATE, number),
        "startSync": await asker.at_rate(lambda: http.post("sync", json=FORCED), RATE / 4, starts),
        "getJobStatus": await asker.at_rate(lambda: http.get(f"queues/supplier-sync/jobs/{job['id']}"), RATE, number),
        "a product": await asker.at_rate(lambda: http.get(f"products/{next(skus)}"), RATE, number),
    }


async def _one(ask: Callable[[], Any]) -> tuple[float, bool]:
    began = time.perf_counter()
    async with ask() as answer:
        await answer.read()
        return (time.perf_counter() - began) * 1000, answer.status < 300


async def synced(ground: Ground, **options: Any) -> float:
    """Seconds that it took; one that is under way already is waited for."""
    began = time.perf_counter()
    await start_queued(ground.services, StartRequest(**options))
    await until(lambda: _is_quiet(ground), look_every_s=0.2)
    return time.perf_counter() - began


async def _is_quiet(ground: Ground) -> bool:
    return not (await ground.rows("SELECT count(*) AS open FROM runs WHERE finished_at IS NULL"))[0]["open"]


async def _sync_on(ground: Ground, walls: list[float]) -> None:
    while True:
        walls.append(await synced(ground, force=True))


def _section(answers: dict[str, Answers], alone: float, forced_alone: float, walls: Sequence[float]) -> Section:
    slower = statistics.median(walls) / forced_alone if walls else 0.0
    return Section(
        "The API beside a sync",
        f"200 families of 4 variants and 3 pictures, {LATENCY_S * 1000:g} ms at the origin, one worker a queue; "
        f"startSync {RATE / 4:g} times a second, the others {RATE}. The cold sync took {alone:.1f} s.",
        [
            Table(
                [
                    "call",
                    "p50, ms",
                    "p99, ms",
                    "most, ms",
                    "p99 / nothing's",
                    "CPU of the API, ms",
                    "calls",
                    "no success",
                ],
                [
                    [
                        name,
                        *(f"{found.at(share):.1f}" for share in (0.5, 0.99, 1.0)),
                        f"{found.at(0.99) / answers['nothing'].at(0.99):.1f} x",
                        f"{found.cpu_ms:.2f}",
                        str(len(found.took_ms)),
                        str(found.errors),
                    ]
                    for name, found in answers.items()
                ],
            )
        ],
        [
            Figure(
                "F8",
                f"{name} beside a sync, p99; errors",
                f"{answers[name].at(0.99):.0f} ms; {answers[name].errors}",
                f"<= {goal:g} ms; 0",
                answers[name].at(0.99) <= goal and not answers[name].errors,
            )
            for name, goal in GOALS_MS.items()
        ],
        [f"A forced sync beside these calls took {slower:.2f} x the time of one alone ({forced_alone:.1f} s)."],
        [_plot(answers)],
    )


def _plot(answers: dict[str, Answers]) -> Plot:
    asked = {name: answers[name] for name in GOALS_MS}
    series = {
        "p50": [found.at(0.5) for found in asked.values()],
        "p99": [found.at(0.99) for found in asked.values()],
        "goal": list(GOALS_MS.values()),
    }
    return Plot("calls", "How long calls take beside a sync; the goal is p99's", "ms", list(asked), series)
