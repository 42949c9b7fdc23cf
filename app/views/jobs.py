"""A job and a queue's numbers, as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, SUPPLIER_SYNC
from app.persistence.job_lists import JobRow, QueueNumbers
from app.settings import Settings
from app.states import JobState
from app.views.masking import mask_optional
from app.views.shapes import Out, epoch_ms, example

LISTED_JOB: dict[str, JsonValue] = {
    "found": True,
    "jobId": "supplier-sync-1730000000000-A360",
    "queueName": "supplier-sync",
    "state": "active",
    "error": None,
    "attemptsMade": 1,
    "processedOn": 1730000000500,
    "finishedOn": None,
    "timestamp": 1730000000000,
    "runId": "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8",
    "parentJobId": None,
}
QUEUE: dict[str, JsonValue] = {
    "queueName": "supplier-sync",
    "waiting": 0,
    "active": 1,
    "completed": 10,
    "failed": 0,
    "delayed": 0,
    "total": 11,
    "paused": False,
}
PROGRESS: dict[str, JsonValue] = {"step": "fetching_variants", "percentage": 30}


ERROR = "Why its last attempt failed, or, of a `delayed` job and of an `active` one in an outage, what it waits for."


class ListedJob(Out):
    """A job as lists show it; times are milliseconds since the epoch."""

    model_config = example(**LISTED_JOB)
    found: Literal[True] = True
    job_id: str
    queue_name: str
    state: JobState
    error: Annotated[str | None, Field(description=ERROR)]
    attempts_made: int
    processed_on: int | None
    finished_on: int | None
    timestamp: int
    run_id: str
    parent_job_id: str | None


class JobStatus(ListedJob):
    """A job with how far it is and what came of it."""

    model_config = example(**LISTED_JOB, progress=PROGRESS, result=None)
    progress: dict[str, Any] | None
    result: dict[str, Any] | None


ACTIVE = "`active` is what workers have claimed: in a slot, held ready for one, or waiting for its commit."


class QueueStats(Out):
    """How many jobs of a queue are in each state; cancelled ones are not among them."""

    model_config = example(**QUEUE)
    queue_name: str
    waiting: int
    active: Annotated[int, Field(description=ACTIVE)]
    completed: int
    failed: int
    delayed: int
    total: int
    paused: bool


class AllQueueStats(Out):
    """The numbers of all three queues."""

    model_config = example(
        supplierSync=QUEUE,
        productFamily={**QUEUE, "queueName": "product-family"},
        imageUpload={**QUEUE, "queueName": "image-upload"},
    )
    supplier_sync: QueueStats
    product_family: QueueStats
    image_upload: QueueStats


class Retried(Out):
    """How many jobs wait again."""

    model_config = example(queueName="image-upload", retried=12)
    queue_name: str
    retried: int


class Paused(Out):
    """Whether a queue is paused."""

    model_config = example(queueName="image-upload", paused=True)
    queue_name: str
    paused: bool


class Deleted(Out):
    """A job that is no more."""

    model_config = example(queueName="image-upload", jobId="image-upload-5f0c", deleted=True)
    queue_name: str
    job_id: str
    deleted: Literal[True] = True


def queue_stats(found: QueueNumbers) -> QueueStats:
    """A queue's numbers as an answer."""
    states = {name: found.states.get(name, 0) for name in ("waiting", "active", "completed", "failed", "delayed")}
    return QueueStats(queue_name=found.name, paused=found.paused, total=sum(states.values()), **states)


def all_queue_stats(found: Mapping[str, QueueNumbers]) -> AllQueueStats:
    """The numbers of all three queues as an answer."""
    return AllQueueStats(
        supplier_sync=queue_stats(found[SUPPLIER_SYNC]),
        product_family=queue_stats(found[PRODUCT_FAMILY]),
        image_upload=queue_stats(found[IMAGE_UPLOAD]),
    )


def job_status(settings: Settings, row: JobRow) -> JobStatus:
    """A job's row as an answer."""
    return JobStatus(**listed_job(settings, row), progress=row.progress, result=row.result)


def listed_job(settings: Settings, row: JobRow) -> dict[str, Any]:
    """What lists show of a job's row, as the members of `ListedJob`."""
    return {
        "job_id": row.id,
        "queue_name": row.queue,
        "state": row.state,
        "error": None if row.state == "completed" else mask_optional(settings, row.error),
        "attempts_made": row.attempts + (row.state in {"active", "completed"}),
        "processed_on": epoch_ms(row.started_at),
        "finished_on": epoch_ms(row.finished_at),
        "timestamp": epoch_ms(row.created_at),
        "run_id": row.run_id,
        "parent_job_id": row.parent_id,
    }
