"""Reparsing: a newer reading of the feed, applied from the stored documents, without the origin."""

from __future__ import annotations

from collections import Counter

from app.jobs.definitions import PRODUCT_FAMILY, SupplierResult
from app.persistence import documents, ledger, runs, suppliers
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob
from app.sync.stage.children import add_doubted, add_family_jobs
from app.sync.stage.context import Stage, messages_of
from app.sync.stage.dropped import Effects, place_dropped

PAGE = 1_000


async def reparse_supplier(stage: Stage, job: ClaimedJob) -> None:
    """Send every stored family of a supplier through the family stage again, and close the supplier job.

    What another reading of an applied document lacks is not doubted: reading it once more would say the same. What was
    never applied is doubted as in a sync (ENGINE.md 3, "Suspects").

    Raises:
        ClaimLost, RunCancelled: it is not ours any more; what was committed stays.
    """
    after: str | None = ""
    while after is not None:
        after = await _send_page(stage, job, after)
    taking = await stage.services.database.transact(lambda db: _finish(db, stage, job))
    await stage.dispatch(messages_of(PRODUCT_FAMILY, job.run_id, taking))


async def _send_page(stage: Stage, job: ClaimedJob, after: str) -> str | None:
    """Make the jobs of one page of families; returns where the next begins, or None after the last."""

    async def work(db: Connection) -> tuple[str | None, list[str]]:
        await ledger.fence(db, job)
        await suppliers.note_clean(db, job.supplier_id, None, None)  # whatever ends this run, the next sync looks again
        page = await documents.stored_families(db, job.supplier_id, after=after, limit=PAGE)
        added: list[str] = []
        for judged in (True, False):
            families = [(family.sku, family.version) for family in page if family.was_applied is judged]
            added += await add_family_jobs(db, job, families, judged=judged)
        if added:
            await ledger.checkpoint(db, job)
        await runs.book(db, job.run_id, Counter(families_total=len(added)), added=len(added), last=True)
        return (page[-1].sku if page else None), added

    last, added = await stage.services.database.transact(work)
    if added:
        stage.progress.note_checkpoint(job)
    await stage.dispatch(messages_of(PRODUCT_FAMILY, job.run_id, added))
    return last


async def _finish(db: Connection, stage: Stage, job: ClaimedJob) -> list[str]:
    """Close the job; returns the jobs of families that take over what others dropped, or that were put off till here.

    Whether they will is not known yet, so the next sync looks again.
    """
    enqueued = await runs.families_so_far(db, job.run_id)
    await ledger.complete_one(db, job, SupplierResult(enqueued, 0, "0%"))
    effects = Effects()
    await place_dropped(db, job, effects, stage.services.settings.price_regions)
    effects.added += await add_doubted(db, job)
    effects.counts["families_total"] += len(effects.added)
    await runs.book(db, job.run_id, effects.counts, added=len(effects.added), finished=1, last=True)
    return effects.added
