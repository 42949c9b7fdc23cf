"""Reading what Prometheus would read: the samples of one address, or of several added up."""

from __future__ import annotations

import re
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from tests.support.plain_http import plain_client
from tests.support.worker_stack import WorkerProcess

Samples = Counter[str]
"""Values by `name{label="value",…}`, the labels by name."""


def metrics_address(worker: WorkerProcess) -> str:
    """Where a worker that is ready shows its numbers: it says which of the ports after METRICS_PORT was free."""
    (port,) = re.findall(r'"port": (\d+), "queue": "[\w-]+", "event": "metrics"', worker.said())
    return f"127.0.0.1:{port}"


async def scrape(*addresses: str, headers: dict[str, str] | None = None) -> Samples:
    """The samples below `address/metrics`, added up over the addresses."""
    samples: Samples = Counter()
    async with plain_client(headers=headers, timeout=20) as http:
        for address in addresses:
            answer = await http.get(f"{address}/metrics")
            assert answer.status_code == 200, answer.text
            samples.update(parse(answer.text))
    return samples


def parse(text: str) -> Samples:
    """The samples of one answer."""
    samples: Samples = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value  # type: ignore[assignment]
    return samples
