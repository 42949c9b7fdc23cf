"""One attempt at a job, as traces and logs see it: a span of the job's trace, and the ids in every line of its log.

An attempt that is repeated, after a pause, an outage or a worker's death, is one more span of the same trace: each
hangs on what led to the job, which the ledger keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from app import traces
from app.jobs.definitions import STAGE_OF
from app.logs import about
from app.persistence.ledger import ClaimedJob
from app.traces import Span


@contextmanager
def attempt_at(job: ClaimedJob) -> Iterator[tuple[ClaimedJob, Span]]:
    """Gives the job as its stage is to have it, with its own work as the `traceparent`, and the attempt's span."""
    with (
        about(run=job.run_id, job=job.id),
        traces.span(
            f"{STAGE_OF[job.queue]} job",
            parent=job.traceparent or "",
            kind="consumer",
            run=job.run_id,
            job=job.id,
            supplier=job.supplier,
            sku=job.args.get("family_sku"),
            address=job.args.get("address_id"),
            attempt=job.attempts + 1,
            deaths=job.deaths,
        ) as span,
    ):
        mine = span.traceparent
        same = mine is None or mine == job.traceparent
        yield job if same else msgspec.structs.replace(job, traceparent=mine), span
