"""What traces cost a cold sync: off, on with a trace that is not sampled, on with one that is; in turn, round by round.

The sampled share of many syncs costs that share of what a sampled one costs: OTEL_TRACES_SAMPLER_ARG decides for a sync
as a whole.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from app.jobs.definitions import QUEUES
from app.sync.operating.discovery import discover
from bench.ground import Feed, Servers, fresh_ground, serving_feed
from bench.report import Section, Table
from bench.sync import Measured, Size, measure_sync, spread

ROUNDS = 5
RATIO = 0.1
GOAL = 0.03


class _Collector(BaseHTTPRequestHandler):
    """Takes everything and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """An export."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's
        """Say nothing."""


@contextmanager
def _collecting() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `observed`."""
    size = Size(families=4, variants=2, pictures=2, small=True) if quick else Size(families=60)
    measured: dict[str, list[Measured]] = {}
    with serving_feed(*size.options()) as feed, _collecting() as endpoint:
        for number in range(1 if quick else ROUNDS):
            kinds = list(_settings(endpoint).items())
            for kind, settings in kinds if number % 2 else reversed(kinds):
                measured.setdefault(kind, []).append(asyncio.run(_cold(servers, feed, settings)))
    return _section(size, measured)


def _settings(endpoint: str) -> dict[str, Mapping[str, str]]:
    on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    return {
        "off": {},
        "not sampled": {**on, "OTEL_TRACES_SAMPLER_ARG": "0"},
        "sampled": {**on, "OTEL_TRACES_SAMPLER_ARG": "1"},
    }


async def _cold(servers: Servers, feed: Feed, settings: Mapping[str, str]) -> Measured:
    async with fresh_ground(servers, feed.base_url, settings=settings) as ground:
        await discover(ground.services)
        return await measure_sync(ground, feed, QUEUES)


def _section(size: Size, measured: Mapping[str, list[Measured]]) -> Section:
    section = Section(
        "What traces cost",
        f"Cold syncs of {size.families} families x {size.variants} variants x {size.pictures} pictures, three worker "
        f"processes, a collector that takes everything; {len(measured['off'])} rounds of all three in turn, medians of "
        "the rounds' ratios. CPU of workers, PostgreSQL and Valkey together, from startSync to the run's end.",
    )
    workers = {kind: [_workers_cpu_s(each) for each in of_kind] for kind, of_kind in measured.items()}
    whole = {kind: [each.cpu_s for each in of_kind] for kind, of_kind in measured.items()}
    section.tables.append(
        Table(
            ["traces", "workers", "beside off", "all", "beside off"],
            [
                [
                    kind,
                    spread(workers[kind]),
                    f"{_more(workers, kind):+.1%}",
                    spread(whole[kind]),
                    f"{_more(whole, kind):+.1%}",
                ]
                for kind in ("off", "not sampled", "sampled")
            ],
            title="CPU seconds",
        )
    )
    at_ratio = RATIO * _more(whole, "sampled") + (1 - RATIO) * _more(whole, "not sampled")
    section.remarks.append(
        f"At OTEL_TRACES_SAMPLER_ARG={RATIO} a sync costs {at_ratio:+.1%} CPU, over many; the goal is < {GOAL:.0%}."
    )
    return section


def _workers_cpu_s(one: Measured) -> float:
    return sum(one.costs[queue].cpu_s for queue in QUEUES)


def _more(cpu_s: Mapping[str, list[float]], kind: str) -> float:
    return statistics.median(on / off - 1 for on, off in zip(cpu_s[kind], cpu_s["off"], strict=True))
