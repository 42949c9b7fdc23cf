"""A sync that many watch against one that nobody does: fifty open event streams, and what they cost the sync.

    one cold sync to warm up ─▶ a forced sync alone │ one with 50 streams of /api/v1/events ─▶ the same, alternating

CPU seconds of the workers are what the sync costs; PostgreSQL's and the API's are told beside them, the streams' share
among them. Ratios of neighbours, since the machine changes more than the watching.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from app.jobs.definitions import QUEUES
from app.sync.operating.discovery import discover
from bench.api_process import serving_api
from bench.beside import synced
from bench.ground import Ground, Process, Servers, fresh_ground, serving_feed, workers
from bench.meters import CostMeter
from bench.report import Figure, Section, Table

STREAMS, ROUNDS = 50, 5
MOST_SHARE = 0.05


@dataclass(frozen=True)
class Measured:
    """One forced sync: CPU seconds by program, and its own seconds."""

    costs: dict[str, float]
    seconds: float
    events: int

    @property
    def sync_cpu_s(self) -> float:
        """Of the workers alone."""
        return sum(cost for name, cost in self.costs.items() if name in QUEUES)


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `watched`."""
    families = 10 if quick else 200
    size = ["--suppliers", "1", "--families", str(families), "--variants", "4", "--pictures", "3", "--small-pictures"]
    with serving_feed(*size) as feed:
        return asyncio.run(_measure(servers, feed.base_url, families, 1 if quick else ROUNDS))


async def _measure(servers: Servers, base_url: str, families: int, rounds: int) -> Section:
    async with (
        fresh_ground(servers, base_url) as ground,
        workers(ground, QUEUES) as running,
        serving_api(ground) as (base, api),
    ):
        await discover(ground.services)
        await synced(ground)
        await synced(ground, force=True)
        pairs = [
            (await _once(ground, running, api, base, 0), await _once(ground, running, api, base, STREAMS))
            for _ in range(rounds)
        ]
    return _section(pairs, families)


async def _once(ground: Ground, running: dict[str, Process], api: Process, base: str, streams: int) -> Measured:
    pids = {**{name: process.pid for name, process in running.items()}, "API": api.pid}
    async with listening(base, streams) as heard:
        with CostMeter({**pids, "PostgreSQL": ground.servers.postgres.pid}) as meter:
            seconds = await synced(ground, force=True)
    return Measured({name: cost.cpu_s for name, cost in meter.costs.items()}, seconds, sum(heard))


@asynccontextmanager
async def listening(base: str, streams: int) -> AsyncIterator[list[int]]:
    """So many streams open while the block runs; gives how many events each has heard."""
    heard = [0] * streams
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(base, connector=connector, timeout=timeout) as http:
        tasks = [asyncio.create_task(_listen(http, heard, number)) for number in range(streams)]
        await asyncio.sleep(1.0 if streams else 0.0)
        try:
            yield heard
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks) if tasks else None
    if 0 in heard:
        raise RuntimeError(f"{heard.count(0)} of {streams} streams heard nothing")


async def _listen(http: aiohttp.ClientSession, heard: list[int], number: int) -> None:
    async with http.get("/api/v1/events") as answer:
        answer.raise_for_status()
        async for piece in answer.content.iter_any():  # not line by line: whoever measures is on the same cores
            heard[number] += piece.count(b"event: ")


def _section(pairs: Sequence[tuple[Measured, Measured]], families: int) -> Section:
    more = [watched.sync_cpu_s / alone.sync_cpu_s - 1 for alone, watched in pairs]
    slower = [watched.seconds / alone.seconds - 1 for alone, watched in pairs]
    share = statistics.median(more)
    rows = [
        [f"{number} {kind}", f"{one.seconds:.1f}", f"{one.sync_cpu_s:.2f}", f"{one.costs['PostgreSQL']:.2f}",
         f"{one.costs['API']:.2f}", str(one.events)]
        for number, pair in enumerate(pairs, 1) for kind, one in zip(("alone", "watched"), pair, strict=True)
    ]  # fmt: skip
    return Section(
        "A sync that is watched",
        f"A forced sync of {families} families of 4 variants and 3 pictures each, one worker a queue, alone and with "
        f"{STREAMS} open streams of `/api/v1/events`, {len(pairs)} times in turn.",
        [Table(["sync", "s", "workers, CPU s", "PostgreSQL, CPU s", "API, CPU s", "events heard"], rows)],
        [
            Figure(
                "watched",
                f"what {STREAMS} watchers cost the sync, in the workers' CPU; median of {len(pairs)}",
                f"{share:+.1%}",
                "< 5 %",
                share < MOST_SHARE,
            )
        ],
        [f"The watched sync took {statistics.median(slower):+.1%} against the one alone, with the API beside it."],
    )
