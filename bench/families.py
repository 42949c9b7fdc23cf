"""What a family costs as the catalogue grows (F4): cold syncs of small families, each size on a database of its own.

    sizes, small to large ─▶ a feed of so many families ─▶ cold syncs, one worker a queue ─▶ marginal cost, memory

The marginal cost between two sizes leaves out what a sync costs by itself: the manifest, the end, PostgreSQL's chores.
Its measure is CPU: these sizes are bound by it, and wall moves with whatever else the machine does meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.jobs.definitions import QUEUES
from app.sync.operating.discovery import discover
from bench.ground import Feed, Servers, fresh_ground, serving_feed
from bench.plots import Plot, by_program
from bench.report import Figure, Section, Table
from bench.shapes import SHAPES
from bench.sync import NOT_OURS, Measured, measure_sync, median_cpu_s, spread

SIZES = (100, 1_000, 10_000)
QUICK_SIZES = (4, 8, 16)
ROUNDS = 3
"""Of each size but the largest, which takes as long as all the others and is measured once."""
WITHIN_COST, WITHIN_MEMORY = 0.15, 0.10
SETTLED_S = 16.0
"""After a sync: a worker gives back what it freed after two looks, 5 s apart, and Valkey's allocator within 10 s."""
SHAPE = dataclasses.replace(SHAPES["tiny"], pictures=1, picture_bytes=2_000)
"""The smallest family that all three stages have work with."""


@dataclass(frozen=True)
class Grown:
    """Cold syncs of one size."""

    families: int
    syncs: Sequence[Measured]

    def median(self, of: Callable[[Measured], float]) -> float:
        """Of its syncs."""
        return statistics.median(of(sync) for sync in self.syncs)

    @property
    def programs(self) -> list[str]:
        """Workers and servers, without the origin."""
        return [name for name in self.syncs[0].costs if name not in NOT_OURS]

    def end_mb(self, program: str) -> float:
        """The memory that is its own, at the end."""
        return self.median(lambda sync: sync.costs[program].end_mb)

    def peak_mb(self, program: str) -> float:
        """The most that it had."""
        return self.median(lambda sync: sync.costs[program].peak_mb)


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `families`."""
    settled_s = 0.0 if quick else SETTLED_S
    grown = [
        _grown(servers, size, 1 if quick or size == SIZES[-1] else ROUNDS, settled_s) for size in _sizes(quick=quick)
    ]
    return Section(
        "A family's cost as the catalogue grows",
        f"Cold syncs of {', '.join(f'{one.families:,}' for one in grown)} families of one variant, "
        f"{SHAPE.document_bytes} bytes and one picture of {SHAPE.picture_bytes} bytes, no latency; one worker a queue "
        f"and the feed on the same cores, each size on new servers' state; {ROUNDS} syncs a size, of the largest one.",
        [_costs(grown), _memory(grown)],
        [
            _flat("CPU of ours", grown, lambda sync: sync.ours_cpu_s),
            _flat("wall", grown, lambda sync: sync.wall_s),
            *(_held(grown, program) for program in grown[0].programs),
        ],
        [
            "CPU of ours: workers, PostgreSQL and Valkey. Wall is told beside it; on a busy machine it says little.",
            "Memory at the end: what a program would give back if it ended (USS): PostgreSQL's without shared buffers.",
            f"The end is {settled_s:.0f} s after the run's: idle workers and Valkey give back what they do not use.",
        ],
        _plots(grown),
    )


def _sizes(*, quick: bool) -> tuple[int, ...]:
    return QUICK_SIZES if quick else SIZES


def _grown(servers: Servers, families: int, rounds: int, settled_s: float) -> Grown:
    with serving_feed(*dataclasses.replace(SHAPE, families=families).options()) as feed:
        return Grown(families, [asyncio.run(_sync(servers, feed, settled_s)) for _ in range(rounds)])


async def _sync(servers: Servers, feed: Feed, settled_s: float) -> Measured:
    async with fresh_ground(servers, feed.base_url) as ground:
        await discover(ground.services)
        return await measure_sync(ground, feed, QUEUES, settled_after_s=settled_s)


def _costs(grown: Sequence[Grown]) -> Table:
    rows = [
        [
            f"{one.families:,}",
            spread([sync.wall_s for sync in one.syncs]),
            f"{one.families / one.median(lambda sync: sync.wall_s):.0f}",
            spread([sync.ours_cpu_s for sync in one.syncs]),
            *(spread([sync.costs[program].cpu_s for sync in one.syncs]) for program in one.programs),
        ]
        for one in grown
    ]
    head = ("families", "wall, s", "families/s", "CPU of ours, s", *(f"{name}, s" for name in grown[0].programs))
    return Table(head, rows, "Time and CPU")


def _memory(grown: Sequence[Grown]) -> Table:
    rows = [
        [f"{one.families:,}", *(f"{one.end_mb(name):.0f}, {one.peak_mb(name):.0f}" for name in one.programs)]
        for one in grown
    ]
    return Table(("families", *(f"{name}, MB" for name in grown[0].programs)), rows, "Memory at the end, and its peak")


def marginal(sizes: Sequence[int], totals: Sequence[float]) -> tuple[float, float]:
    """What one family more costs, from the first size to the second and from the second to the third."""
    first, second = (
        (totals[place + 1] - totals[place]) / (sizes[place + 1] - sizes[place]) for place in range(len(sizes) - 1)
    )
    return first, second


def _steps(grown: Sequence[Grown]) -> list[str]:
    return [f"{less.families:,}-{more.families:,}" for less, more in itertools.pairwise(grown)]


def _marginal_of(grown: Sequence[Grown], of: Callable[[Measured], float]) -> tuple[float, float]:
    return marginal([one.families for one in grown], [one.median(of) for one in grown])


def _flat(what: str, grown: Sequence[Grown], of: Callable[[Measured], float]) -> Figure:
    small, large = _marginal_of(grown, of)
    reached = small > 0 and abs(large / small - 1) <= WITHIN_COST
    of_small, of_large = _steps(grown)
    told = f"{large * 1000:.2f} / {small * 1000:.2f} ms"
    return Figure("F4", f"{what} a family, {of_large} / {of_small}", told, "within 15 %", reached)


def _held(grown: Sequence[Grown], program: str) -> Figure:
    small, large = (one.end_mb(program) for one in grown[1:])
    what = f"memory of {program} at the end, {grown[2].families:,} / {grown[1].families:,} families"
    return Figure("F4", what, f"{large:.0f} / {small:.0f} MB", "within 10 %", large <= small * (1 + WITHIN_MEMORY))


def _plots(grown: Sequence[Grown]) -> list[Plot]:
    sizes = [f"{one.families:,}" for one in grown]
    cpu = [one.median(lambda sync: sync.ours_cpu_s) for one in grown]
    growth = {
        "CPU of ours": cpu,
        "wall": [one.median(lambda sync: sync.wall_s) for one in grown],
        "in proportion": [cpu[-1] * one.families / grown[-1].families for one in grown],
    }
    memory = {program: [one.end_mb(program) for one in grown] for program in grown[0].programs}
    return [
        by_program(
            "CPU of one family more, from size to size, by process", _one_more(grown), name="one-more", unit="CPU ms"
        ),
        Plot(
            "growth", "Cost of a cold sync against its size", "s", sizes, growth, "lines", "families", logarithmic=True
        ),
        Plot("memory", "Memory of its own at the end, against size", "MB", sizes, memory, "lines", "families"),
    ]


def _one_more(grown: Sequence[Grown]) -> dict[str, dict[str, float]]:
    """CPU ms of one family more, by program, for each step from size to size."""
    totals = [median_cpu_s(one.syncs) for one in grown]
    sizes = [one.families for one in grown]
    by_name = {name: marginal(sizes, [total[name] for total in totals]) for name in grown[0].programs}
    return {
        f"{step} families": {name: max(0.0, found[place] * 1000) for name, found in by_name.items()}
        for place, step in enumerate(_steps(grown))
    }
