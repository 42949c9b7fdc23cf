"""A manifest that left nothing to do last time leaves nothing to do: it is not even read.

What can make work for a supplier is another manifest, a reset, or an option of the run; each of them takes the mark
away (`suppliers.clean_manifest`). Pictures that an earlier run left unsettled are taken up here too.
"""

from __future__ import annotations

from collections import Counter

from app.jobs.definitions import IMAGE_UPLOAD, SupplierResult
from app.persistence import documents, ledger, runs
from app.persistence.database import Connection
from app.persistence.documents import ManifestDiff
from app.persistence.ledger import ClaimedJob
from app.persistence.suppliers import Supplier
from app.settings import Settings
from app.sync.stage.children import add_old_pictures
from app.sync.stage.context import Stage, messages_of
from app.sync.supplier.manifest_step import ManifestBody


def nothing_to_do(settings: Settings, supplier: Supplier, job: ClaimedJob, body: ManifestBody) -> bool:
    """Whether this manifest is the one that left nothing to do, and the run asks for nothing else."""
    asks_for_more = job.options.force or job.options.confirmed_manifest or settings.reread_share_a_day
    return body.is_stored and supplier.clean_manifest == body.sha256 and not asks_for_more


async def finish_unchanged(stage: Stage, job: ClaimedJob, supplier: Supplier, body: ManifestBody) -> None:
    """Close the supplier job of a run that found nothing to do.

    Raises:
        ClaimLost, RunCancelled: it is not ours any more; nothing was written.
    """

    async def work(db: Connection) -> list[str]:
        families = await documents.count_families(db, supplier.id)
        await ledger.complete_one(db, job, SupplierResult(0, families, "100%"))
        images = await add_old_pictures(db, job, stage.services.settings)
        diff = ManifestDiff(entries=supplier.clean_entries or 0, wanted=[], removed=0)
        await runs.set_manifest(db, job.run_id, body.sha256, diff, invalid=0, to_fetch=0)
        await runs.book(db, job.run_id, Counter(images_total=len(images)), added=len(images), finished=1, last=True)
        return images

    images = await stage.services.database.transact(work)
    await stage.dispatch(messages_of(IMAGE_UPLOAD, job.run_id, images))
