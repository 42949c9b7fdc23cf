"""The supplier stage's last commit: what is gone, under the guard, and the end of the supplier job.

    all documents fetched ─▶ guard ─┬─ tripped: nothing is removed, no variant either; the run says why
                                    └─ documents missing, families without any discontinued with their last variant
                             ─▶ dropped variants: taken over by a family that lists them, else discontinued
                             ─▶ doubles reported ─▶ the supplier job completed

Variants are settled only here, when every document of the run has been seen: one that left its family may have moved
to another that is read later, or that could not be had (`app/sync/stage/letting_go.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.catalogue.guard import ManifestState, check_removals
from app.jobs.definitions import PRODUCT_FAMILY, SupplierResult
from app.persistence import catalogue, changes, documents, ledger, manifests, problems, runs, suppliers
from app.persistence.changes import Change
from app.persistence.database import Connection
from app.persistence.documents import Lessened, ManifestDiff
from app.persistence.ledger import ClaimedJob
from app.persistence.problems import Problem
from app.persistence.suppliers import Supplier
from app.sync.stage.children import add_doubted, add_family_jobs
from app.sync.stage.context import Stage, messages_of
from app.sync.stage.dropped import Effects, place_dropped
from app.sync.stage.letting_go import fails_by_documents
from app.sync.supplier.asked import AskedFamilies
from app.sync.supplier.manifest_step import Manifest


@dataclass(frozen=True, slots=True)
class SupplierEnd:
    """What the last commit of a supplier job rests on."""

    stage: Stage
    job: ClaimedJob
    supplier: Supplier
    manifest: Manifest
    diff: ManifestDiff
    asked: AskedFamilies


async def finish_supplier(end: SupplierEnd) -> None:
    """Remove what is to be removed, close the supplier job, and note its result.

    Raises:
        ClaimLost, RunCancelled: it is not ours any more; nothing was written.
    """
    stage, job = end.stage, end.job

    async def work(db: Connection) -> list[str]:
        effects = Effects()
        await ledger.complete_one(db, job)
        is_settled = job.options.skus is None and await _remove(db, end, effects)
        await place_dropped(db, job, effects, stage.services.settings.price_regions)
        effects.added += await add_doubted(db, job)
        if job.options.skus is not None:
            await _report_unknown(db, job, end.asked.not_in_feed, effects)
        elif end.diff.wanted:
            await _report_silent(db, job, effects)
        if is_settled and not effects.added:
            await _note_clean(db, end)
        stage.progress.note(job, "enqueuing_families")
        await ledger.set_result(db, job.id, await _result(db, job, effects))
        effects.counts["families_total"] += len(effects.added)
        await runs.book(db, job.run_id, effects.counts, added=len(effects.added), finished=1, last=True)
        return effects.added

    added = await stage.services.database.transact(work)
    await stage.dispatch(messages_of(PRODUCT_FAMILY, job.run_id, added))


async def _remove(db: Connection, end: SupplierEnd, effects: Effects) -> bool:
    """Remove what the manifest lacks, unless the guard trips or the run fails by its documents.

    Returns whether there was nothing to remove and nothing to do.
    """
    job, supplier, manifest, diff = end.job, end.supplier, end.manifest, end.diff
    settings = end.stage.services.settings
    names = sorted(manifest.data.entries.get(supplier.code, {}))
    share = supplier.removal_guard_share
    confirmed = job.options.confirmed_manifest == manifest.sha256
    odd_lines = manifest.data.odd_lines_of(supplier.code)
    await suppliers.note_odd_lines(db, supplier.id, odd_lines)
    await catalogue.adopt_dropped(db, supplier.id, job.run_id)
    left = await documents.former_families(db, supplier.id)
    tripped = check_removals(
        ManifestState(manifest.sha256, manifest.data.total, manifest.applied_entries, manifest.data.last_line_cut),
        would_remove=await documents.count_families_missing(db, supplier.id, names) if diff.removed or left else 0,
        active=await catalogue.count_active_families(db, supplier.id, job.run_id),
        share=settings.removal_guard_share if share is None else share,
        confirmed=confirmed,
        new_odd_lines=odd_lines.not_in(supplier.known_odd_lines) if diff.removed else 0,
    )
    if tripped is not None:
        guard, reason = tripped
        await runs.set_guard(db, job.run_id, guard.as_json(), reason)
        await problems.add_problems(db, job.run_id, [Problem("warning", "supplier", "guard", reason, job_id=job.id)])
        return False
    await manifests.note_manifest_applied(db, manifest.profile, manifest.sha256, manifest.data.total)
    if (diff.removed or left) and not await fails_by_documents(db, job):
        after_runs = 1 if confirmed else settings.remove_after_runs
        await _drop_missing(db, job, names, effects, left, remove_after_runs=after_runs)
    return diff.nothing_to_do and not left and not manifest.data.invalid_count_of(supplier.code)


async def _note_clean(db: Connection, end: SupplierEnd) -> None:
    """Note that the manifest left nothing to do, unless the supplier was reset since it was compared."""
    await suppliers.hold_supplier(db, end.supplier.id)
    if not await documents.any_unfinished(db, end.supplier.id):
        await suppliers.note_clean(db, end.supplier.id, end.manifest.sha256, end.diff.entries)


async def _drop_missing(
    db: Connection,
    job: ClaimedJob,
    names: list[str],
    effects: Effects,
    left: Sequence[Lessened],
    *,
    remove_after_runs: int,
) -> None:
    """Documents that are missing go, families that have none left are discontinued, the others are written anew.

    `left` are families that documents left for others: like families that lost documents, they have some left or none.
    """
    lessened = await documents.note_missing(db, job.supplier_id, job.run_id, names, remove_after_runs=remove_after_runs)
    for_others = {family.sku for family in left}
    smaller = [family for family in left if family.remaining]
    smaller += [family for family in lessened if family.sku not in for_others]
    await documents.note_unwritten(db, job.supplier_id, [family.sku for family in smaller])
    effects.added += await _write_anew(db, job, smaller)
    await documents.forget_former_families(db, job.supplier_id)
    gone = await catalogue.families_without_documents(db, job.supplier_id)
    dropped = await catalogue.drop_families(db, job.supplier_id, job.run_id, gone)
    judged = [family.sku for family in smaller if family.judged]
    await catalogue.drop_unlisted(db, job.supplier_id, job.run_id, judged)
    await changes.add_changes(
        db,
        supplier_id=job.supplier_id,
        run_id=job.run_id,
        changes=[Change("discontinued", "product", sku, sku) for sku in dropped],
    )


async def _write_anew(db: Connection, job: ClaimedJob, smaller: Sequence[Lessened]) -> list[str]:
    """Jobs for families that documents left, from what they have left."""
    added = []
    for remaining, judged in sorted({(family.remaining, family.judged) for family in smaller}):
        families = [
            (family.sku, family.version)
            for family in smaller
            if (family.remaining, family.judged) == (remaining, judged)
        ]
        added += await add_family_jobs(db, job, families, again=f"-{remaining}", judged=judged)
    return added


async def _report_silent(db: Connection, job: ClaimedJob, effects: Effects) -> None:
    """Two documents with one SKU, a family's or a lone variant's: the one that does not count is an error."""
    silent = await documents.silent_documents(db, job.supplier_id)
    effects.counts["families_total"] += len(silent)
    effects.counts["families_failed"] += len(silent)
    await problems.add_problems(
        db,
        job.run_id,
        [
            Problem(
                "error",
                "supplier",
                "family-sku-twice",
                f"another document, {item.speaker}, has this SKU too and counts",
                url=item.url,
                sku=item.sku,
                job_id=job.id,
            )
            for item in silent
        ],
    )


async def _report_unknown(
    db: Connection, job: ClaimedJob, not_in_feed: Sequence[tuple[str, str]], effects: Effects
) -> None:
    """A family that was asked for by name and that the feed does not have is an error of the run (API.md)."""
    effects.counts["families_total"] += len(not_in_feed)
    effects.counts["families_failed"] += len(not_in_feed)
    await problems.add_problems(
        db,
        job.run_id,
        [
            Problem("error", "supplier", "sku-not-in-feed", reason, sku=sku, job_id=job.id)
            for sku, reason in not_in_feed
        ],
    )


async def _result(db: Connection, job: ClaimedJob, effects: Effects) -> SupplierResult:
    enqueued = await runs.families_so_far(db, job.run_id) + len(effects.added)
    families = await documents.count_families(db, job.supplier_id)
    skipped = max(0, families - enqueued)
    everything = enqueued + skipped
    efficiency = round(100 * skipped / everything) if everything else 100
    return SupplierResult(enqueued, skipped, f"{efficiency}%")
