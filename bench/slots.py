"""Slots and processes pay off (F9), with an origin that is 200 ms away.

    processes    all families written ─▶ one image worker, then three of them, in turn: pictures a second
    slots        a cold sync with 1 slot in every stage, then one with the default: each against its bound

What is far away leaves the cores idle, so what limits is what waits: the slots.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.jobs.definitions import QUEUES
from app.sync.operating.discovery import discover
from bench.ground import Feed, Servers, fresh_ground, serving_feed
from bench.pictures import Pictures, pictures_of
from bench.plots import Plot
from bench.report import Figure, Section, Table
from bench.sync import DEFAULT_SLOTS, Measured, Size, bound_s, measure_sync, reference_of, spread

FAR_S = 0.2
SEVERAL, SEVERAL_GOAL, SLOTS_GOAL = 3, 2.5, 0.85
ONE_SLOT = {f"CONCURRENCY_{what}": "1" for what in ("DOCUMENTS", "FAMILIES", "IMAGES")}
ROUNDS = 2
MANY_PICTURES, FEW_PICTURES = Size(families=60), Size(families=40, variants=2, pictures=5)
QUICK = Size(families=4, variants=2, pictures=2, small=True)


@dataclass(frozen=True)
class Slotted:
    """A cold sync with so many slots."""

    slots: str
    sync: Measured
    bound_s: float


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `slots`."""
    many, few = (QUICK, QUICK) if quick else (MANY_PICTURES, FEW_PICTURES)
    with serving_feed(*many.options()) as feed:
        crews = _crews(servers, feed, 1 if quick else ROUNDS)
    with serving_feed(*few.options()) as feed:
        slotted = _slotted(servers, feed)
    return Section(
        f"Slots and processes, {FAR_S * 1000:g} ms at the origin",
        f"One image worker and {SEVERAL} with {DEFAULT_SLOTS} slots each, {crews[1][0].count} pictures queued before "
        f"they start; {len(crews[1])} rounds in turn, medians. Then cold syncs of {few.families} families x "
        f"{few.variants} variants x {few.pictures} pictures, one worker a queue, with 1 slot for documents, families "
        "and pictures each, and with the default; one of each.",
        [_rates(crews), _syncs(slotted)],
        [_processes_pay(crews), _slots_pay(slotted)],
        plots=_plots(crews, slotted),
    )


def _crews(servers: Servers, feed: Feed, rounds: int) -> dict[int, list[Pictures]]:
    """The rounds of each number of workers."""
    crews: dict[int, list[Pictures]] = {1: [], SEVERAL: []}
    for _ in range(rounds):
        for number, found in crews.items():
            found.append(asyncio.run(pictures_of(servers, feed, FAR_S, processes=number)))
    return crews


def _slotted(servers: Servers, feed: Feed) -> list[Slotted]:
    reference = asyncio.run(reference_of(servers, feed))
    feed.set_habits(latency_s=FAR_S)
    found = []
    for name, settings, slots in (("1 slot", ONE_SLOT, 1), ("default", {}, DEFAULT_SLOTS)):
        sync = asyncio.run(_sync(servers, feed, settings))
        found.append(Slotted(name, sync, max(bound_s(reference, FAR_S, slots).values())))
    return found


async def _sync(servers: Servers, feed: Feed, settings: Mapping[str, str]) -> Measured:
    async with fresh_ground(servers, feed.base_url, settings=settings) as ground:
        await discover(ground.services)
        return await measure_sync(ground, feed, QUEUES)


def _rates(crews: Mapping[int, Sequence[Pictures]]) -> Table:
    rows = [
        [
            str(number),
            spread([one.span_s for one in found]),
            spread([one.rate for one in found]),
            f"{_bound_of(number):.0f}",
        ]
        for number, found in crews.items()
    ]
    return Table(("image workers", "first claim to last end, s", "pictures/s", "their slots' bound"), rows)


def _median_rate(found: Sequence[Pictures]) -> float:
    return statistics.median(one.rate for one in found)


def _bound_of(processes: int) -> float:
    """Pictures a second of so many workers, whose slots wait for the origin and for nothing else."""
    return processes * DEFAULT_SLOTS / FAR_S


def _syncs(slotted: Sequence[Slotted]) -> Table:
    rows = [
        [one.slots, f"{one.sync.wall_s:.2f}", f"{one.bound_s:.2f}", f"{one.sync.wall_s / one.bound_s:.2f}"]
        for one in slotted
    ]
    return Table(("slots", "cold sync, s", "bound, s", "sync / bound"), rows)


def _processes_pay(crews: Mapping[int, Sequence[Pictures]]) -> Figure:
    ratio = _median_rate(crews[SEVERAL]) / _median_rate(crews[1])
    what = f"{SEVERAL} image workers against one at {FAR_S * 1000:g} ms"
    return Figure("F9", what, f"{ratio:.2f} x", f">= {SEVERAL_GOAL} x", ratio >= SEVERAL_GOAL)


def _slots_pay(slotted: Sequence[Slotted]) -> Figure:
    one, default = slotted
    ratio = (one.sync.wall_s / default.sync.wall_s) / (one.bound_s / default.bound_s)
    what = "default slots against 1, of what their bounds allow"
    return Figure("F9", what, f"{ratio:.2f} x", f">= {SLOTS_GOAL} x", ratio >= SLOTS_GOAL)


def _plots(crews: Mapping[int, Sequence[Pictures]], slotted: Sequence[Slotted]) -> list[Plot]:
    rates = {
        "measured": [_median_rate(found) for found in crews.values()],
        "bound": [_bound_of(number) for number in crews],
    }
    seconds = {"cold sync": [one.sync.wall_s for one in slotted], "bound": [one.bound_s for one in slotted]}
    workers = [str(number) for number in crews]
    return [
        Plot("workers", "Pictures a second, by image workers", "pictures/s", workers, rates, along="image workers"),
        Plot("slots", "Time of a cold sync, by slots", "s", [one.slots for one in slotted], seconds, along="slots"),
    ]
