"""What metrics and traces cost a cold sync: off, metrics alone, with traces that are not sampled, with sampled ones.

In turn, round by round, each beside the round's own sync without either; then what is told of a picture by itself
(`observed_picture.py`). The sampled share of many syncs costs that share of what a sampled one costs:
OTEL_TRACES_SAMPLER_ARG decides for a sync as a whole.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx

from app.jobs.definitions import QUEUES
from app.sync.operating.discovery import discover
from bench.collector import collecting
from bench.ground import Feed, Servers, fresh_ground, serving_feed
from bench.observed_picture import Told
from bench.report import Figure, Section, Table
from bench.sync import Measured, Size, measure_sync, spread

ROUNDS = 5
GOAL = 0.03
PORT = 19_464
"""The first worker's, of metrics; the others take the next ones."""
SCRAPED_EVERY_S = 5.0
"""Three times as often as Prometheus does by default: a sync of this size is over soon."""


@dataclass(frozen=True)
class _Kind:
    """What is on."""

    settings: Mapping[str, str]
    options: tuple[str, ...] = ()


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `observed`."""
    size = Size(families=4, variants=2, pictures=2, small=True) if quick else Size(families=60)
    measured: dict[str, list[Measured]] = {}
    with serving_feed(*size.options()) as feed, collecting() as endpoint, _scraping():
        kinds = list(_kinds(endpoint).items())
        asyncio.run(_cold(servers, feed, kinds[0][1]))  # the servers' caches are nobody's gain
        for number in range(1 if quick else ROUNDS):
            first = number % len(kinds)
            for name, kind in kinds[first:] + kinds[:first]:
                measured.setdefault(name, []).append(asyncio.run(_cold(servers, feed, kind)))
        told_us = Told(endpoint, pictures=200 if quick else 5_000).us()
    return _section(size, measured, told_us)


def _kinds(endpoint: str) -> dict[str, _Kind]:
    metrics = {"METRICS_PORT": str(PORT)}
    # what is left in the queue when the run ends is part of its cost: with five seconds' delay most of it would be
    traces = {**metrics, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "2000"}
    return {
        "off": _Kind({}, ("--unmeasured",)),
        "metrics": _Kind(metrics),
        "metrics, traces not sampled": _Kind({**traces, "OTEL_TRACES_SAMPLER_ARG": "0"}),
        "metrics, traces sampled": _Kind({**traces, "OTEL_TRACES_SAMPLER_ARG": "1"}),
    }


@contextmanager
def _scraping() -> Iterator[None]:
    """Ask workers for their metrics, as Prometheus does."""
    ended = threading.Event()

    def scrape() -> None:
        with httpx.Client(timeout=2) as client:
            while not ended.wait(SCRAPED_EVERY_S):
                for port in range(PORT, PORT + len(QUEUES)):
                    with suppress(httpx.HTTPError):
                        client.get(f"http://127.0.0.1:{port}/metrics")

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def _cold(servers: Servers, feed: Feed, kind: _Kind) -> Measured:
    async with fresh_ground(servers, feed.base_url, settings=kind.settings) as ground:
        await discover(ground.services)
        return await measure_sync(ground, feed, QUEUES, *kind.options)


def _section(size: Size, measured: Mapping[str, list[Measured]], told_us: Mapping[str, float]) -> Section:
    section = Section(
        "What metrics and traces cost",
        f"Cold syncs of {size.families} families x {size.variants} variants x {size.pictures} pictures, three worker "
        f"processes, a collector that takes everything, metrics read every {SCRAPED_EVERY_S:g} s; "
        f"{len(measured['off'])} rounds of all four in turn. CPU of workers, and of workers, PostgreSQL and Valkey, "
        "from startSync to the run's end; beside off: the median of the rounds' ratios, and the extremes.",
    )
    workers = {name: [_workers_cpu_s(each) for each in syncs] for name, syncs in measured.items()}
    ours = {name: [each.ours_cpu_s for each in syncs] for name, syncs in measured.items()}
    rows = [
        [name, spread(workers[name]), _beside(workers, name), spread(ours[name]), _beside(ours, name)]
        for name in measured
    ]
    section.tables.append(Table(["on", "workers", "beside off", "all", "beside off"], rows, title="CPU seconds"))
    off = [s / each.run["images_uploaded"] * 1e6 for s, each in zip(workers["off"], measured["off"], strict=True)]
    _tell_a_picture(section, told_us, statistics.median(off))
    return section


def _tell_a_picture(section: Section, told_us: Mapping[str, float], picture_us: float) -> None:
    """What is told of one, beside what workers use for one, its share of documents and families with it."""
    rows = [[name, f"{us:.0f}", f"{us / picture_us:+.2%}"] for name, us in told_us.items()]
    title = f"CPU µs a picture, of {picture_us:,.0f} that the workers use"
    section.tables.append(Table(["told", "µs", "beside off"], rows, title=title))
    both = (told_us["metrics"] + told_us["traces, sampled"]) / picture_us
    section.figures.append(
        Figure("F13", "metrics and sampled traces of a picture, CPU", f"{both:+.1%}", f"< {GOAL:.0%}", both < GOAL)
    )
    section.remarks.append(
        "Where the syncs' ratios lie on both sides of nought their spread is larger than what is looked for; the "
        "figure is the picture's, alone in a process."
    )


def _workers_cpu_s(one: Measured) -> float:
    return sum(one.costs[queue].cpu_s for queue in QUEUES)


def _beside(cpu_s: Mapping[str, list[float]], name: str) -> str:
    ratios = [on / off - 1 for on, off in zip(cpu_s[name], cpu_s["off"], strict=True)]
    return f"{statistics.median(ratios):+.1%} ({min(ratios):+.1%} to {max(ratios):+.1%})"
