"""Cold syncs of the shapes that the same sync on BullMQ + Node is measured with, on a folder and on a bucket.

a shape ─▶ its feed, asked for everything once ─▶ rounds of (folder, bucket): new servers' state, workers, one cold sync

Wall is from startSync to the run's end; CPU of each process is the processes' own account.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from app.jobs.definitions import QueueName
from app.sync.operating.discovery import discover
from bench.bucket import Bucket, serving_bucket
from bench.ground import Feed, Servers, fresh_ground, serving_feed
from bench.plots import Plot, by_program
from bench.report import Figure, Section, Table
from bench.sync import Measured, measure_sync, median_cpu_s, reference_of, spread
from bench.usual import queues_of, usual_workers

Store = Literal["folder", "bucket"]
STORES: tuple[Store, ...] = ("folder", "bucket")
SMALL_FAMILIES_A_SECOND = 200


@dataclass(frozen=True)
class Shape:
    """A feed of one supplier, and how far away its origin is."""

    families: int
    variants: int
    pictures: int
    document_bytes: int
    picture_bytes: int | None
    latency_s: float

    def options(self) -> list[str]:
        """For `feed serve`."""
        sizes = {"--document-bytes": self.document_bytes, "--picture-bytes": self.picture_bytes}
        counts = {"--families": self.families, "--variants": self.variants, "--pictures": self.pictures}
        given = {name: str(value) for name, value in (sizes | counts).items() if value is not None}
        return ["--suppliers", "1", "--uniform", *(part for pair in given.items() for part in pair)]

    def told(self) -> str:
        """Its sizes in a line."""
        pictures = "no pictures"
        if self.picture_bytes is not None:
            pictures = f"{self.pictures} pictures of {self.picture_bytes // 1000} KB"
        return (
            f"{self.families} families x {self.variants} variants x {pictures}, "
            f"documents of {self.document_bytes // 1000} KB"
        )


SHAPES = {
    "medium": Shape(200, 4, 3, 100_000, 30_000, 0.02),
    "medium-near": Shape(200, 4, 3, 100_000, 30_000, 0.0),
    "small": Shape(1_000, 2, 2, 30_000, 10_000, 0.005),
    "tiny": Shape(10_000, 1, 0, 1_000, None, 0.0),
}


QUICK = {"quick": Shape(4, 2, 2, 30_000, 10_000, 0.0)}


@dataclass(frozen=True)
class Choice:
    """What of it is wanted."""

    shapes: Sequence[str] = tuple(SHAPES)
    stores: Sequence[Store] = STORES
    latency_s: float | None = None
    """In place of the shape's own."""
    rounds: int = 2
    families_workers: int = field(default_factory=lambda: usual_workers("family"))
    images_workers: int = field(default_factory=lambda: usual_workers("image"))

    def queues(self) -> list[QueueName]:
        """A worker process for each."""
        return queues_of(self.families_workers, self.images_workers)


def measure(servers: Servers, choice: Choice, *, quick: bool) -> Section:
    """The shapes' section."""
    section = Section(
        "Cold syncs of other shapes",
        f"One supplier; {choice.families_workers} family and {choice.images_workers} image workers beside the "
        f"supplier's; {choice.rounds} rounds, folder and bucket in turn; the bucket is rclone's S3 server on the same "
        "cores, the feed a process of its own there. Medians, and the extremes.",
    )
    rows: list[list[str]] = []
    done: dict[tuple[str, Store], list[Measured]] = {}
    for name, shape in (QUICK if quick else {name: SHAPES[name] for name in choice.shapes}).items():
        for store, syncs in _syncs(servers, shape, choice).items():
            done[name, store] = syncs
            rows.append(_row(name, shape, choice, store, syncs))
            if name == "tiny":
                section.figures.append(_small_families(shape, store, syncs))
        section.remarks.append(f"{name}: {shape.told()}.")
    head = (
        "shape",
        "latency",
        "store",
        "wall, s",
        "families/s",
        "CPU of ours, s",
        "with the store's, s",
        "by process, s",
    )
    section.tables.append(Table(head, rows, "Wall and CPU seconds"))
    section.plots += _plots(done)
    return section


def _plots(done: Mapping[tuple[str, Store], Sequence[Measured]]) -> list[Plot]:
    shapes, stores = dict.fromkeys(shape for shape, _ in done), dict.fromkeys(store for _, store in done)
    walls = {key: statistics.median(sync.wall_s for sync in syncs) for key, syncs in done.items()}
    times: dict[str, list[float | None]] = {store: [walls.get((shape, store)) for shape in shapes] for store in stores}
    costs = {", ".join(key): median_cpu_s(syncs) for key, syncs in done.items()}
    return [
        Plot("shapes-time", "Time of a cold sync, by its shape and store", "s", list(shapes), times, along="shape"),
        by_program("A cold sync's CPU by process, by its shape and store", costs, name="shapes-cpu", unit="CPU s"),
    ]


def _syncs(servers: Servers, shape: Shape, choice: Choice) -> dict[Store, list[Measured]]:
    stores = [store for store in choice.stores if store == "folder" or shape.pictures]
    syncs: dict[Store, list[Measured]] = {store: [] for store in stores or ["folder"]}
    with serving_feed(*shape.options()) as feed:
        asyncio.run(reference_of(servers, feed))  # the feed makes everything once
        feed.set_habits(latency_s=shape.latency_s if choice.latency_s is None else choice.latency_s)
        for _ in range(choice.rounds):
            for store, done in syncs.items():
                with _bucket(servers, store) as bucket:
                    done.append(asyncio.run(sync_of_ours(servers, feed, choice, bucket)))
                print(f"  {store} {_line(done[-1])}", file=sys.stderr, flush=True)
    return syncs


@contextmanager
def _bucket(servers: Servers, store: Store) -> Iterator[Bucket | None]:
    if store == "folder":
        yield None
    else:
        with serving_bucket(servers.folder) as bucket:
            yield bucket


async def sync_of_ours(servers: Servers, feed: Feed, choice: Choice, bucket: Bucket | None) -> Measured:
    settings = {} if bucket is None else bucket.env
    async with fresh_ground(servers, feed.base_url, settings=settings) as ground:
        await discover(ground.services)
        beside = {} if bucket is None else {"object store": bucket.process.pid}
        return await measure_sync(ground, feed, choice.queues(), beside=beside)


def _row(name: str, shape: Shape, choice: Choice, store: Store, syncs: Sequence[Measured]) -> list[str]:
    latency_s = shape.latency_s if choice.latency_s is None else choice.latency_s
    return [
        name,
        f"{latency_s * 1000:.0f} ms",
        store,
        spread([sync.wall_s for sync in syncs]),
        f"{shape.families / statistics.median(sync.wall_s for sync in syncs):.0f}",
        spread([sync.ours_cpu_s for sync in syncs]),
        spread([sync.cpu_s for sync in syncs]),
        ", ".join(f"{part} {seconds:.2f}" for part, seconds in median_cpu_s(syncs).items()),
    ]


def _line(sync: Measured) -> str:
    parts = ", ".join(f"{part} {cost.cpu_s:.2f}" for part, cost in sync.costs.items())
    return f"wall {sync.wall_s:.2f} s, CPU of ours {sync.ours_cpu_s:.2f} s: {parts}"


def _small_families(shape: Shape, store: Store, syncs: Sequence[Measured]) -> Figure:
    a_second = shape.families / statistics.median(sync.wall_s for sync in syncs)
    goal = f">= {SMALL_FAMILIES_A_SECOND}"
    what = f"{shape.families} families of one variant, {store}, families a second"
    return Figure("F12", what, f"{a_second:.0f}", goal, a_second >= SMALL_FAMILIES_A_SECOND)
