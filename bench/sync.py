"""A cold sync and the unchanged one after it, over the three queues, against the bound of DESIGN.md F3.

a round: bare reference loop ─▶ cold + unchanged at 20 ms ─▶ cold + unchanged at 0 ms
bound = the largest, over the stages, of items x latency / slots and items x reference CPU / cores

With the worker processes that `up` starts here by default; where CPU goes is told of one process a queue.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.jobs.definitions import QUEUES
from app.sync.operating.discovery import discover
from app.sync.operating.start import StartRequest, start_queued
from bench.ground import Feed, Ground, Servers, fresh_ground, serving_feed, until, workers
from bench.meters import CORES, Cost, CostMeter
from bench.plots import Plot, by_program
from bench.reference import Reference, measure_reference
from bench.report import Figure, Section, Table
from bench.usual import usual_queues, usual_workers

LATENCIES_S = (0.02, 0.0)
ROUNDS = 4
DEFAULT_SLOTS = 10
"""Documents at once, and pictures of a worker at once."""
GOAL, GOAL_BY_DEFAULT = 1.25, 1.5
"""Of DESIGN.md, and what is asked of default settings on two cores."""
CPU_GOAL = 1.6
RUN_WITHIN_S = 1_200.0
NOT_OURS = ("origin", "object store")


@dataclass(frozen=True)
class Size:
    """The feed's."""

    families: int = 200
    variants: int = 4
    pictures: int = 3
    small: bool = False

    def options(self) -> list[str]:
        """For `feed serve`."""
        counts = {
            "--suppliers": 1,
            "--families": self.families,
            "--variants": self.variants,
            "--pictures": self.pictures,
        }
        return [
            "--uniform",
            *(str(part) for pair in counts.items() for part in pair),
            *(["--small"] if self.small else []),
        ]


@dataclass(frozen=True)
class Measured:
    """One sync."""

    wall_s: float
    requests: dict[str, int]
    costs: dict[str, Cost]
    run: dict[str, Any]
    told: dict[str, dict[str, Any]]

    @property
    def cpu_s(self) -> float:
        """Of everything but the origin."""
        return sum(cost.cpu_s for name, cost in self.costs.items() if name != "origin")

    @property
    def ours_cpu_s(self) -> float:
        """Of workers, PostgreSQL and Valkey."""
        return sum(cost.cpu_s for name, cost in self.costs.items() if name not in NOT_OURS)


@dataclass(frozen=True)
class Pair:
    """A cold sync and the unchanged one after it."""

    cold: Measured
    unchanged: Measured


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `sync`."""
    size = Size(families=4, variants=2, pictures=2, small=True) if quick else Size()
    pairs: dict[float, list[Pair]] = {latency_s: [] for latency_s in LATENCIES_S}
    references = []
    with serving_feed(*size.options()) as feed:
        for _ in range(1 if quick else ROUNDS):
            references.append(asyncio.run(reference_of(servers, feed)))
            for latency_s in LATENCIES_S:
                pairs[latency_s].append(asyncio.run(_pair(servers, feed, latency_s, usual_queues())))
        sampled = asyncio.run(_pair(servers, feed, 0.0, QUEUES, "--sample", "--count"))
    return _section(size, references, pairs, sampled)


async def reference_of(servers: Servers, feed: Feed) -> Reference:
    """The bare loop on this feed."""
    feed.set_habits(latency_s=0.0)
    async with fresh_ground(servers, feed.base_url) as ground:
        return await measure_reference(ground, feed, os.getpid())


async def _pair(servers: Servers, feed: Feed, latency_s: float, queues: Sequence[str], *options: str) -> Pair:
    feed.set_habits(latency_s=latency_s)
    async with fresh_ground(servers, feed.base_url) as ground:
        await discover(ground.services)
        cold = await measure_sync(ground, feed, queues, *options)
        unchanged = await measure_sync(ground, feed, queues)
    return Pair(cold, unchanged)


async def measure_sync(
    ground: Ground,
    feed: Feed,
    queues: Sequence[str],
    *options: str,
    beside: Mapping[str, int] | None = None,
    settled_after_s: float = 0.0,
) -> Measured:
    """One sync of all suppliers with new worker processes, from startSync to its end.

    `beside` names processes whose cost is wanted, too, by their ids. Their memory at the end is looked at
    `settled_after_s` seconds later.

    Raises:
        RuntimeError: the run did not end as `completed`.
    """
    feed.forget_requests()
    async with workers(ground, queues, *options) as processes:
        pids = {name: process.pid for name, process in processes.items()}
        pids |= {"PostgreSQL": ground.servers.postgres.pid, "Valkey": ground.servers.valkey.pid}
        with CostMeter(pids | {"origin": feed.process.pid, **(beside or {})}) as meter:
            started_at = time.time()
            await start_queued(ground.services, StartRequest())
            run = await wait_for_end(ground)
        if settled_after_s:
            await asyncio.sleep(settled_after_s)
            meter.note_end()
        told = {name: process.stop() for name, process in processes.items()}
    for name in processes:
        meter.costs[name].peak_mb = told[name]["peak_mb"]
    return Measured(run["ended_at"] - started_at, feed.requests(), meter.costs, run, told)


async def wait_for_end(ground: Ground) -> dict[str, Any]:
    """The newest run's row once it is over.

    Raises:
        RuntimeError: it ended otherwise than `completed`.
    """
    query = """
        SELECT r.*, EXTRACT(epoch FROM r.finished_at)::float8 AS ended_at,
            EXTRACT(epoch FROM j.started_at)::float8 AS claimed_at
        FROM runs r JOIN jobs j ON j.id = r.supplier_job_id ORDER BY r.created_at DESC LIMIT 1"""
    async with asyncio.timeout(RUN_WITHIN_S):
        await until(lambda: _ended(ground), look_every_s=0.1)
    (run,) = await ground.rows(query)
    if run["status"] != "completed":
        raise RuntimeError(f"the run ended {run['status']}: {run['error']}")
    return run


async def _ended(ground: Ground) -> bool:
    return not await ground.rows("SELECT FROM runs WHERE status IN ('queued', 'running', 'cancelling')")


def bound_s(
    reference: Reference, latency_s: float, slots: int = DEFAULT_SLOTS, *, images_workers: int = 1
) -> dict[str, float]:
    """The bound of each stage, in seconds, with so many slots for documents and for pictures of a worker."""
    return {
        "documents, latency": reference.documents * latency_s / slots,
        "documents and families, CPU": reference.documents * reference.document_cpu_s / CORES,
        "pictures, latency": reference.pictures * latency_s / (slots * images_workers),
        "pictures, CPU": reference.pictures * reference.picture_cpu_s / CORES,
    }


def _section(size: Size, references: list[Reference], pairs: dict[float, list[Pair]], sampled: Pair) -> Section:
    section = Section(
        "Cold sync and the unchanged one after it",
        f"One supplier of {size.families} families x {size.variants} variants x {size.pictures} pictures "
        f"({'small' if size.small else 'real'} document and picture sizes), {len(usual_queues())} worker processes as "
        "`up` starts them on this machine, the local store, the feed a process of its own on the same cores. "
        f"{len(references)} interleaved rounds; medians.",
    )
    section.tables += [_bounds(section, references, pairs), _syncs(pairs), _costs(pairs), _parts(sampled)]
    section.plots += [_walls(references, pairs), _cpu(pairs)]
    run = sampled.cold.run
    section.remarks += [
        f"The run's own count: {run['families_completed']} families, {run['images_uploaded']} pictures uploaded.",
        "The reference loop decodes each picture whole; the product decodes with `draft`, which costs less.",
        "CPU by part and round trips come from a run of its own with one process a queue; looking costs about 5 %.",
    ]
    return section


def _bounds(section: Section, references: list[Reference], pairs: dict[float, list[Pair]]) -> Table:
    rows = []
    for latency_s, measured in pairs.items():
        walls = [pair.cold.wall_s for pair in measured]
        bounds = [_usual_bound_s(one, latency_s) for one in references]
        ratios = [pair.cold.wall_s / max(bound.values()) for pair, bound in zip(measured, bounds, strict=True)]
        floors = [_floor_s(one) for one in references]
        largest = max(bounds[0], key=lambda name: bounds[0][name])
        ratio = statistics.median(ratios)
        rows.append(
            [
                f"{latency_s * 1000:.0f} ms",
                spread(walls),
                spread([max(bound.values()) for bound in bounds]),
                largest,
                f"{ratio:.2f}",
                spread(floors),
                f"{statistics.median(walls) / statistics.median(floors):.2f}",
            ]
        )
        section.figures += [
            Figure(
                "F3",
                f"cold sync at {latency_s * 1000:.0f} ms, wall / bound",
                f"{ratio:.2f}",
                f"<= {goal}",
                ratio <= goal,
            )
            for goal in (GOAL_BY_DEFAULT, GOAL)
        ]
    section.figures.append(_cpu_figure(references, pairs[0.0]))
    head = (
        "origin latency",
        "wall, s",
        "bound, s",
        "by",
        "wall / bound",
        "all stages and origin on these cores, s",
        "wall / that",
    )
    return Table(head, rows, "Against the bare loop")


def _walls(references: list[Reference], pairs: dict[float, list[Pair]]) -> Plot:
    bounds = {latency_s: [max(_usual_bound_s(one, latency_s).values()) for one in references] for latency_s in pairs}
    series = {
        "cold sync": [statistics.median(pair.cold.wall_s for pair in found) for found in pairs.values()],
        "unchanged": [statistics.median(pair.unchanged.wall_s for pair in found) for found in pairs.values()],
        "bound": [statistics.median(found) for found in bounds.values()],
    }
    labels = [f"{latency_s * 1000:.0f} ms" for latency_s in pairs]
    return Plot("time", "Time of a sync, and the cold one's bound", "s", labels, series, along="latency at the origin")


def _cpu(pairs: dict[float, list[Pair]]) -> Plot:
    costs = {
        f"at {latency_s * 1000:.0f} ms": median_cpu_s([pair.cold for pair in found])
        for latency_s, found in pairs.items()
    }
    return by_program("A cold sync's CPU by process", costs, name="cpu", unit="CPU s")


def median_cpu_s(syncs: Sequence[Measured]) -> dict[str, float]:
    """By program."""
    return {name: statistics.median(sync.costs[name].cpu_s for sync in syncs) for name in syncs[0].costs}


def _usual_bound_s(reference: Reference, latency_s: float) -> dict[str, float]:
    return bound_s(reference, latency_s, images_workers=usual_workers("image"))


def _cpu_figure(references: list[Reference], measured: list[Pair]) -> Figure:
    """What our processes take, against the bare loop, which does without what they are for."""
    ratio = statistics.median(
        pair.cold.ours_cpu_s / _stages_cpu_s(one) for pair, one in zip(measured, references, strict=True)
    )
    name = "cold sync at 0 ms, CPU of workers, PostgreSQL and Valkey / the bare loop's"
    return Figure("F3", name, f"{ratio:.2f}", f"<= {CPU_GOAL}", ratio <= CPU_GOAL)


def _stages_cpu_s(reference: Reference) -> float:
    return reference.documents * reference.document_cpu_s + reference.pictures * reference.picture_cpu_s


def _floor_s(reference: Reference) -> float:
    """Seconds that all stages' reference CPU and the origin's take on these cores: they share them here."""
    return (_stages_cpu_s(reference) + reference.origin_cpu_s) / CORES


def _syncs(pairs: dict[float, list[Pair]]) -> Table:
    rows = []
    for latency_s, measured in pairs.items():
        for name in ("cold", "unchanged"):
            syncs: list[Measured] = [getattr(pair, name) for pair in measured]
            last = syncs[-1]
            rows.append(
                [
                    f"{name}, {latency_s * 1000:.0f} ms",
                    spread([sync.wall_s for sync in syncs]),
                    spread([sync.cpu_s for sync in syncs]),
                    *(str(last.requests.get(kind, 0)) for kind in ("manifest", "category", "document", "picture")),
                ]
            )
    return Table(
        ("sync", "wall, s", "CPU without origin, s", "manifest", "category", "document", "picture"),
        rows,
        "Seconds and requests",
    )


def _costs(pairs: dict[float, list[Pair]]) -> Table:
    names = list(next(iter(pairs.values()))[0].cold.costs)
    rows = []
    for name in names:
        row = [name]
        for measured in pairs.values():
            costs = [pair.cold.costs[name] for pair in measured]
            row += [spread([cost.cpu_s for cost in costs]), f"{max(cost.peak_mb for cost in costs):.0f}"]
        rows.append(row)
    head = ["process"]
    for latency_s in pairs:
        head += [f"CPU s, {latency_s * 1000:.0f} ms", f"peak MB, {latency_s * 1000:.0f} ms"]
    return Table(head, rows, "The cold sync, by process")


def _parts(sampled: Pair) -> Table:
    rows = []
    for queue, told in sampled.cold.told.items():
        items = _items(queue, sampled.cold.run)
        total = sum(told["parts"].values()) or 1.0
        parts = sorted(told["parts"].items(), key=lambda part: -part[1])
        trips = told["trips"]
        rows.append(
            [
                queue,
                str(items),
                f"{told['cpu_s'] * 1000 / items:.2f}",
                ", ".join(f"{part} {100 * used / total:.0f} %" for part, used in parts if used / total >= 0.01),
                f"{trips.get('postgres', 0) / items:.2f}",
                f"{trips.get('redis', 0) / items:.2f}",
            ]
        )
    head = ("worker", "jobs", "CPU ms a job", "where", "PostgreSQL statements a job", "Redis round trips a job")
    return Table(head, rows, "The cold sync at 0 ms, by worker (the supplier's jobs are its documents)")


def _items(queue: str, run: dict[str, Any]) -> int:
    columns = {"supplier-sync": "documents_fetched", "product-family": "families_total", "image-upload": "images_total"}
    return int(run[columns[queue]])


def spread(values: Sequence[float]) -> str:
    """The median, and the extremes where they differ."""
    middle = statistics.median(values)
    digits = 2 if middle < 10 else 1
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
