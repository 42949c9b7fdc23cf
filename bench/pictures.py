"""Pictures alone: a sync whose image worker starts when everything else is done, and how fast it works off its queue.

supplier and family worker ─▶ all families written ─▶ one image worker, 10 slots ─▶ first claim to last end
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, SUPPLIER_SYNC
from app.sync.operating.discovery import discover
from app.sync.operating.start import StartRequest, start_queued
from bench.ground import Feed, Ground, Servers, fresh_ground, serving_feed, until, workers
from bench.meters import CORES, CostMeter
from bench.reference import Reference
from bench.report import Section, Table
from bench.sync import DEFAULT_SLOTS, Size, reference_of, wait_for_end

LATENCIES_S = (0.02, 0.0)
ROUNDS = 2
SIDES = (500, 1_000, 2_000, 4_000)
SPAN = """
    SELECT count(*) AS count, EXTRACT(epoch FROM max(finished_at) - min(started_at))::float8 AS span_s
    FROM jobs WHERE queue = 'image-upload' AND state = 'completed'"""
OPEN = "SELECT count(*) AS open FROM jobs WHERE queue <> 'image-upload' AND state IN ('waiting', 'active', 'delayed')"


@dataclass(frozen=True)
class Pictures:
    """Image workers' work, and what the first of them told."""

    count: int
    span_s: float
    cpu_s: dict[str, float]
    told: dict[str, Any]

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.count / self.span_s


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `pictures`."""
    size = Size(families=4, variants=2, pictures=2, small=True) if quick else Size(families=50)
    measured: dict[float, list[Pictures]] = {latency_s: [] for latency_s in LATENCIES_S}
    with serving_feed(*size.options()) as feed:
        for _ in range(1 if quick else ROUNDS):
            for latency_s in LATENCIES_S:
                measured[latency_s].append(asyncio.run(pictures_of(servers, feed, latency_s)))
        sampled = asyncio.run(pictures_of(servers, feed, 0.0, "--sample", "--count"))
        reference = asyncio.run(reference_of(servers, feed))
    memory = [_memory(servers.folder, side) for side in SIDES[: 1 if quick else None]]
    return _section(size, measured, sampled, reference, memory)


def _memory(folder: Path, side: int) -> tuple[str, ...]:
    """The peak of a process that takes pictures of side x side pixels of noise, ten at a time."""
    file = folder / f"{side}.jpg"
    Image.effect_noise((side, side), 80).convert("RGB").save(file, "JPEG", quality=90)
    command = [sys.executable, "-m", "bench.picture_memory", str(file), str(folder / f"store-{side}")]
    before, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return (f"{side} x {side}", f"{file.stat().st_size / 1e6:.2f}", before, peak)


async def pictures_of(servers: Servers, feed: Feed, latency_s: float, *options: str, processes: int = 1) -> Pictures:
    """All pictures of a feed, by so many image workers."""
    async with fresh_ground(servers, feed.base_url) as ground:
        feed.set_habits(latency_s=0.0)
        await discover(ground.services)
        async with workers(ground, [SUPPLIER_SYNC, PRODUCT_FAMILY]):
            await start_queued(ground.services, StartRequest())
            await until(lambda: _only_pictures_left(ground))
        feed.set_habits(latency_s=latency_s)
        postgres = {"PostgreSQL": ground.servers.postgres.pid, "origin": feed.process.pid}
        with CostMeter(postgres) as meter:
            async with workers(ground, [IMAGE_UPLOAD] * processes, *options) as running:
                await wait_for_end(ground)
                all_told = [process.stop() for process in running.values()]
        (span,) = await ground.rows(SPAN)
        told = all_told[0]
        cpu_s = {"image worker": sum(one["cpu_s"] for one in all_told)} | {
            name: cost.cpu_s for name, cost in meter.costs.items()
        }
        return Pictures(span["count"], span["span_s"], cpu_s, told)


async def _only_pictures_left(ground: Ground) -> bool:
    (left,) = await ground.rows(OPEN)
    return not left["open"]


def _section(
    size: Size,
    measured: dict[float, list[Pictures]],
    sampled: Pictures,
    reference: Reference,
    memory: list[tuple[str, ...]],
) -> Section:
    section = Section(
        "Pictures: one image worker, 10 slots",
        f"{sampled.count} pictures of {'small' if size.small else 'real'} sizes, queued before the worker starts, to "
        "the local store; medians.",
        [
            _rates(measured, reference),
            _parts(sampled),
            Table(("pixels", "MB", "peak MB before", "peak MB with ten at a time"), memory, "Memory by picture size"),
        ],
    )
    if sampled.told["parts"]:
        part, _ = max(sampled.told["parts"].items(), key=lambda item: item[1])
        section.remarks.append(f"What dominates the worker's CPU: {part}.")
    section.remarks.append("CPU of the worker in the first table holds its start and end, too (about 1 s).")
    return section


def _rates(measured: dict[float, list[Pictures]], reference: Reference) -> Table:
    rows = []
    for latency_s, found in measured.items():
        by_cpu = CORES / reference.picture_cpu_s
        bound = min(by_cpu, DEFAULT_SLOTS / latency_s) if latency_s else by_cpu
        rate = statistics.median(one.rate for one in found)
        cpu = {name: statistics.median(1000 * one.cpu_s[name] / one.count for one in found) for name in found[0].cpu_s}
        rows.append(
            [
                f"{latency_s * 1000:.0f} ms",
                f"{rate:.0f}",
                f"{bound:.0f}",
                f"{bound / rate:.2f}",
                *(f"{cost:.1f}" for cost in cpu.values()),
            ]
        )
    names = next(iter(measured.values()))[0].cpu_s
    return Table(
        (
            "origin latency",
            "pictures/s",
            "bound of F3",
            "bound / that",
            *(f"CPU ms a picture, {name}" for name in names),
        ),
        rows,
    )


def _parts(sampled: Pictures) -> Table:
    rows = [
        [part, f"{1000 * used / sampled.count:.2f}"]
        for part, used in sorted(sampled.told["parts"].items(), key=_by_use)
    ]
    trips = sampled.told["trips"]
    rows += [[f"round trips to {name}", f"{number / sampled.count:.2f}"] for name, number in trips.items()]
    return Table(("part of the worker, 0 ms", "CPU ms (or round trips) a picture"), rows, "Where a picture's CPU goes")


def _by_use(item: tuple[str, float]) -> float:
    return -item[1]


def top_functions(told: dict[str, Any], most: int = 15) -> Sequence[tuple[str, float]]:
    """The functions that used most CPU."""
    return sorted(told["functions"].items(), key=_by_use)[:most]
