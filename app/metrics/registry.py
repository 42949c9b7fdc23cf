"""This process's registry, and what Prometheus' client knows of any process: CPU, memory, descriptors, start."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

Metric = TypeVar("Metric", Counter, Histogram)
MOST_KEPT = 2_000

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)


@lru_cache(maxsize=MOST_KEPT)
def series(metric: Metric, *labels: str) -> Metric:
    """A metric's series with these labels. To look one up takes the client longer than to count in it."""
    return metric.labels(*labels)
