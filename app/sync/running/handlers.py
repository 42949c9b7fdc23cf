"""Queue to stage: what each queue's jobs do, the same in a worker, in a stock ARQ worker and in a direct sync."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, SUPPLIER_SYNC, QueueName
from app.persistence.ledger import ClaimedJob
from app.sync.family.stage import FamilyStage
from app.sync.image.stage import ImageStage
from app.sync.stage.context import Stage
from app.sync.supplier.stage import sync_supplier

FreeSlot = Callable[[], None]
Handler = Callable[[ClaimedJob, FreeSlot], Awaitable[None]]


def handlers(stage: Stage) -> dict[QueueName, Handler]:
    """The work of each queue in the surroundings of `stage`."""

    async def supplier(job: ClaimedJob, free_slot: FreeSlot) -> None:
        del free_slot  # a supplier holds its slot to the end: its commits are its work
        await sync_supplier(stage, job)

    return {SUPPLIER_SYNC: supplier, PRODUCT_FAMILY: FamilyStage(stage).run, IMAGE_UPLOAD: ImageStage(stage).run}
