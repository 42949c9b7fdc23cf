"""The process itself: how late its event loop comes round, its connections to PostgreSQL, what it waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Protocol
from weakref import WeakSet

from prometheus_client import Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.errors import DatabaseUnavailable, OutageError, QueueUnavailable, StoreDeclines, StoreUnavailable
from app.metrics.registry import REGISTRY
from app.outages import Outages, outages

LOOK_EVERY_S = 0.5
PARTS: dict[str, tuple[type[OutageError], ...]] = {
    "redis": (QueueUnavailable,),
    "database": (DatabaseUnavailable,),
    "storage": (StoreUnavailable, StoreDeclines),
}
"""The parts of ours as `/readyz` calls them, by what says that they are away."""

LOOP_LAG_SECONDS = Histogram(
    "promidata_event_loop_lag_seconds",
    "How much later than asked for the event loop came round, looked at twice a second.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
    registry=REGISTRY,
)


class Lending(Protocol):
    """Who lends connections: how many may be, are open, in use, and how many ask in vain at this moment."""

    def use(self) -> dict[str, int]:
        """By `limit`, `open`, `used`, `waiting`."""


class _Connections(Collector):
    """All pools of the process added up; two belong to one `Database` at most."""

    def __init__(self) -> None:
        self.lenders: WeakSet[Lending] = WeakSet()

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        family = GaugeMetricFamily(
            "promidata_database_connections",
            "Connections to PostgreSQL: `limit` may be, `open` are, `used` are lent; `waiting` asks wait for one.",
            labels=["state"],
        )
        uses = [lender.use() for lender in list(self.lenders)]
        for state in ("limit", "open", "used", "waiting"):
            family.add_metric([state], sum(use[state] for use in uses))
        yield family


class _Waits(Collector):
    """For how long loops of this process have waited for a part of ours."""

    def __init__(self, known: Outages) -> None:
        self._known = known

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        family = GaugeMetricFamily(
            "promidata_outage_seconds",
            "For how long this process has been waiting for a part that is away or refuses; 0 when it does not.",
            labels=["part"],
        )
        seconds = self._known.seconds()
        for part, kinds in PARTS.items():
            family.add_metric([part], max(seconds.get(kind.part, 0.0) for kind in kinds))
        yield family


_connections = _Connections()
REGISTRY.register(_connections)
REGISTRY.register(_Waits(outages))


def watch_connections(lender: Lending) -> None:
    """Count the connections of `lender` for as long as it lives."""
    _connections.lenders.add(lender)


@asynccontextmanager
async def watching_the_loop() -> AsyncIterator[None]:
    """Measure the running event loop while the block lasts."""
    watching = asyncio.create_task(_watch())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch() -> None:
    while True:
        due = time.monotonic() + LOOK_EVERY_S
        await asyncio.sleep(LOOK_EVERY_S)
        LOOP_LAG_SECONDS.observe(max(0.0, time.monotonic() - due))
