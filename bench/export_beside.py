"""What a sync loses while the whole catalogue is read, both on the same processors (F11), and what of it is read then.

    forced syncs alone, and beside exports that follow each other, in turn: everything wherever the kernel puts it

The reader keeps nothing of what it gets, so that what is measured is the export.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field

import aiohttp

from app.jobs.definitions import QUEUES
from app.sync.operating.start import StartRequest, start_queued
from bench.ground import Ground, until, workers
from bench.report import Figure

ROUNDS, SYNCS = 8, 4
"""Machines grow faster and slower within a minute by more than what is looked for: turns are short, and each of the two
is first in every other round."""
MOST_SLOWER = 0.1


@dataclass
class Beside:
    """Seconds of forced syncs, and what was read beside them."""

    alone_s: list[float] = field(default_factory=list)
    beside_s: list[float] = field(default_factory=list)
    exported_bytes: int = 0
    exported_s: float = 0.0

    def figure(self) -> Figure:
        """What a sync loses."""
        slower = statistics.median(self.beside_s) / statistics.median(self.alone_s) - 1
        goal = f"< {MOST_SLOWER:.0%}"
        return Figure("F11", "a sync beside it is slower by", f"{slower:.1%}", goal, slower < MOST_SLOWER)

    def remark(self, product_bytes: float) -> str:
        """How it was measured, and what of the export's speed is left."""
        alone, beside = (sorted(seconds) for seconds in (self.alone_s, self.beside_s))
        a_second = self.exported_bytes / product_bytes / self.exported_s
        return (
            f"{len(alone)} forced syncs of another supplier, {alone[0]:.2f} to {alone[-1]:.2f} s alone, "
            f"and as many beside exports, {beside[0]:.2f} to {beside[-1]:.2f} s, in turn, all on the same processors; "
            f"the exports came to {a_second:,.0f} products a second meanwhile (zstd)."
        )


async def measure_beside(ground: Ground, read: aiohttp.ClientSession, supplier: str) -> Beside:
    """Sync `supplier` by force, alone and beside exports."""
    found = Beside()
    async with workers(ground, QUEUES):
        await _forced(ground, supplier)
        for number in range(ROUNDS):
            for exporting in (False, True) if number % 2 == 0 else (True, False):
                async with _exporting(read, found) if exporting else nullcontext():
                    taken = [await _forced(ground, supplier) for _ in range(SYNCS)]
                (found.beside_s if exporting else found.alone_s).extend(taken)
    return found


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
async def _exporting(read: aiohttp.ClientSession, found: Beside) -> AsyncIterator[None]:
    """Exports one after the other; what they give is counted."""

    async def export() -> None:
        while True:
            async with read.get("/api/v1/products") as answer:
                async for piece in answer.content.iter_any():
                    found.exported_bytes += len(piece)

    before = found.exported_bytes
    exports = asyncio.create_task(export())
    await asyncio.sleep(1.0)  # it is under way
    found.exported_bytes, began = before, time.monotonic()
    try:
        yield
        if exports.done():
            exports.result()
    finally:
        found.exported_s += time.monotonic() - began
        exports.cancel()
        await asyncio.wait([exports])
