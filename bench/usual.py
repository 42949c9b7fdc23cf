"""The worker processes that `up` starts on this machine with its default settings, for parts that measure those."""

from __future__ import annotations

from app.cli.cores import available_cores, worker_counts
from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, SUPPLIER_SYNC, QueueName, StageName
from app.settings import Settings


def usual_workers(stage: StageName) -> int:
    """How many processes of this stage."""
    return worker_counts(Settings.model_validate({}), available_cores())[stage]


def queues_of(families_workers: int, images_workers: int) -> list[QueueName]:
    """The queue of each process: the supplier stage's own, and so many of the others."""
    return [SUPPLIER_SYNC, *[PRODUCT_FAMILY] * families_workers, *[IMAGE_UPLOAD] * images_workers]


def usual_queues() -> list[QueueName]:
    """The queue of each process."""
    return queues_of(usual_workers("family"), usual_workers("image"))
