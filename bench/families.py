"""What a family costs as the catalogue grows (F4): cold syncs of small families, each size on a database of its own.

    sizes, small to large ─▶ a feed of so many families ─▶ one cold sync, supplier and family worker ─▶ marginal cost

The marginal cost between two sizes leaves out what a sync costs by itself: starting workers, the manifest, the end.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from app.jobs.definitions import PRODUCT_FAMILY, SUPPLIER_SYNC
from app.sync.operating.discovery import discover
from bench.ground import Servers, fresh_ground, serving_feed
from bench.report import Figure, Section, Table
from bench.shapes import NOT_OURS, SHAPES
from bench.sync import Measured, measure_sync

SIZES = (100, 1_000, 10_000)
QUICK_SIZES = (4, 8, 16)
WITHIN_COST, WITHIN_MEMORY = 0.15, 0.10
WORKERS = (SUPPLIER_SYNC, PRODUCT_FAMILY)


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `families`."""
    sizes = QUICK_SIZES if quick else SIZES
    shape = SHAPES["tiny"]
    syncs = [asyncio.run(_sync(servers, size)) for size in sizes]
    section = Section(
        "A family's cost as the catalogue grows",
        f"Cold syncs of {', '.join(str(size) for size in sizes)} families of {shape.variants} variant and "
        f"{shape.document_bytes} bytes, no pictures, no latency; one supplier and one family worker on these cores, "
        "the feed a process of its own there. One sync a size.",
    )
    section.tables.append(_costs(sizes, syncs))
    section.figures += [
        _flat("wall", sizes, [sync.wall_s for sync in syncs]),
        _flat("CPU of ours", sizes, [_ours_s(sync) for sync in syncs]),
        *(_memory(sizes, syncs, worker) for worker in WORKERS),
    ]
    return section


async def _sync(servers: Servers, families: int) -> Measured:
    with serving_feed(*dataclasses.replace(SHAPES["tiny"], families=families).options()) as feed:
        async with fresh_ground(servers, feed.base_url) as ground:
            await discover(ground.services)
            return await measure_sync(ground, feed, WORKERS)


def _ours_s(sync: Measured) -> float:
    return sum(cost.cpu_s for name, cost in sync.costs.items() if name not in NOT_OURS)


def _costs(sizes: Sequence[int], syncs: Sequence[Measured]) -> Table:
    parts = [name for name in syncs[0].costs if name not in NOT_OURS]
    rows = [
        [
            str(size),
            f"{sync.wall_s:.2f}",
            f"{size / sync.wall_s:.0f}",
            f"{_ours_s(sync):.2f}",
            *(f"{sync.costs[part].cpu_s:.2f} s, {sync.costs[part].peak_mb:.0f} MB" for part in parts),
        ]
        for size, sync in zip(sizes, syncs, strict=True)
    ]
    return Table(("families", "wall, s", "families/s", "CPU of ours, s", *parts), rows, "Cost and peak memory")


def marginal(sizes: Sequence[int], totals: Sequence[float]) -> tuple[float, float]:
    """What one family more costs, from the first size to the second and from the second to the third."""
    first, second = (
        (totals[place + 1] - totals[place]) / (sizes[place + 1] - sizes[place]) for place in range(len(sizes) - 1)
    )
    return first, second


def _flat(what: str, sizes: Sequence[int], totals: Sequence[float]) -> Figure:
    small, large = marginal(sizes, totals)
    reached = small > 0 and abs(large / small - 1) <= WITHIN_COST
    told = f"{large * 1000:.2f} / {small * 1000:.2f} ms"
    return Figure("F4", f"{what} a family, {sizes[1]}-{sizes[2]} / {sizes[0]}-{sizes[1]}", told, "within 15 %", reached)


def _memory(sizes: Sequence[int], syncs: Sequence[Measured], worker: str) -> Figure:
    small, large = (sync.costs[worker].peak_mb for sync in syncs[1:])
    what = f"peak memory of the {worker} worker, {sizes[2]} / {sizes[1]} families"
    return Figure("F4", what, f"{large:.0f} / {small:.0f} MB", "within 10 %", large <= small * (1 + WITHIN_MEMORY))
