"""What is worked off: jobs, what runs did, how runs ended, webhooks.

Counted when the transaction is committed, so all processes together have what the runs' summaries say. What a process
counted after its last scrape is lost when it is killed; the ledger has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from prometheus_client import Counter, Histogram

from app.metrics.registry import REGISTRY

JobOutcome = Literal["completed", "failed", "delayed", "handed_back", "lost"]
"""`delayed`: an attempt was spent; `handed_back`: unspent; `lost`: cancelled, or another worker's meanwhile."""
RUN_RESULTS = ("completed", "completed_with_errors", "failed", "cancelled")

JOB_SECONDS = Histogram(
    "promidata_job_seconds",
    "How long a worker had a job until it was over for it, waits for its commit and for outages of ours included.",
    ["queue", "outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
    registry=REGISTRY,
)
JOB_WAIT_SECONDS = Histogram(
    "promidata_job_wait_seconds",
    "From the moment a job was due to its claim, by PostgreSQL's clock.",
    ["queue"],
    buckets=(0.01, 0.05, 0.25, 1, 5, 30, 60, 300, 1800, 7200),
    registry=REGISTRY,
)
FAILED_AGAIN = Counter(
    "promidata_jobs_failed_again",
    "Jobs that failed for good as the one before for the same thing did: pictures that are dead, and asked for again.",
    ["queue"],
    registry=REGISTRY,
)
RUN_SECONDS = Histogram(
    "promidata_run_seconds",
    "Runs that ended, from the call to the last picture.",
    ["result"],
    buckets=(1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800),
    registry=REGISTRY,
)
DELIVERIES = Counter(
    "promidata_webhook_deliveries", "Tries to deliver a webhook, by what came of them.", ["outcome"], registry=REGISTRY
)
DELIVERY_OUTCOMES = ("delivered", "again", "gone", "refused")


def _items(name: str, what: str) -> Counter:
    return Counter(f"promidata_{name}", f"{what}, as the runs' summaries count them.", ["outcome"], registry=REGISTRY)


ITEMS: Mapping[str, tuple[Counter, tuple[str, ...]]] = {
    "documents": (_items("documents", "Documents of the feed"), ("fetched", "unchanged", "failed")),
    "families": (_items("families", "Families"), ("completed", "failed", "cancelled")),
    "variants": (
        _items("variants", "Variants"),
        ("created", "updated", "unchanged", "discontinued", "reactivated"),
    ),
    "images": (_items("pictures", "Addresses of pictures"), ("uploaded", "deduplicated", "failed", "cancelled")),
}
"""A group of a run's summary to its counter and the outcomes in it; the rest of a summary are sums, not outcomes."""


def prepare(queues: tuple[str, ...]) -> None:
    """Begin every series of these queues at 0: a rate over one that begins at 1 misses the first."""
    for queue in queues:
        JOB_WAIT_SECONDS.labels(queue)
        FAILED_AGAIN.labels(queue)
        for outcome in get_args(JobOutcome):
            JOB_SECONDS.labels(queue, outcome)
    for result in RUN_RESULTS:
        RUN_SECONDS.labels(result)
    for outcome in DELIVERY_OUTCOMES:
        DELIVERIES.labels(outcome)
    for counter, outcomes in ITEMS.values():
        for outcome in outcomes:
            counter.labels(outcome)


def count_items(moved: Mapping[str, int]) -> None:
    """Add what a run's counters moved by, named as in the ledger (`documents_fetched`).

    A repair moves a counter down again, which a counter of Prometheus cannot: it goes on counting what happened.
    """
    for name, number in moved.items():
        group, _, outcome = name.partition("_")
        known = ITEMS.get(group)
        if known is not None and outcome in known[1] and number > 0:
            known[0].labels(outcome).inc(number)
