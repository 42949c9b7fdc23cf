"""This process's registry, and what Prometheus' client knows of any process: CPU, memory, descriptors, start."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
