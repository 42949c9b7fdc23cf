"""The family stage: one family's stored documents in; product, variants, changes and image jobs out, in one commit.

    load documents ─▶ read (in a thread) ─▶ one transaction:
        fence ─▶ hold documents, addresses, product, variants ─▶ decide ─▶ write what differs
              ─▶ changes ─▶ generations of pictures ─▶ image jobs ─▶ applied_hash ─▶ counters

A document is the whole truth for its family: tiers, regions, languages, gallery and options are replaced as sets. What
an old job would write over a newer document, it does not write (`superseded`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import zstandard

from app.catalogue.content import FamilyContent, prepare
from app.catalogue.diff import FamilyDiff, decide
from app.catalogue.suspicion import why_suspect
from app.catalogue.types import ReadingWarning
from app.feed.document import read_family
from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, FamilyJob, FamilyResult, Superseded, read_arguments
from app.persistence import catalogue, changes, documents, ledger, pictures, problems, runs, suppliers
from app.persistence.database import Connection
from app.persistence.documents import StoredDocument
from app.persistence.ledger import ClaimedJob
from app.persistence.problems import Problem
from app.settings import Settings
from app.sync.family.changes import describe
from app.sync.family.writing import write_family
from app.sync.stage.children import add_image_jobs
from app.sync.stage.context import Stage, messages_of
from app.sync.stage.dropped import Effects, place_dropped

STALE = "the hash is new and the bytes are the old ones; the document is read once more in the next run"
MOST_WARNINGS = 200
"""Warnings of one document that are listed; a count stands for the rest."""


@dataclass(frozen=True, slots=True)
class FamilyRead:
    """A family as its documents say it is."""

    chosen: list[StoredDocument]
    family: FamilyContent
    warnings: tuple[ReadingWarning, ...]


@dataclass(slots=True)
class FamilyEffects:
    """What the commit leads to."""

    families: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


async def sync_family(stage: Stage, job: ClaimedJob) -> None:
    """Run a family job to its end.

    Raises:
        ClaimLost, RunCancelled: it is not ours any more; nothing was written.
        DocumentUnreadable: the documents cannot be read; the family keeps its last good state.
        DatabaseUnavailable: PostgreSQL is away; to be tried again at no cost.
    """
    arguments = read_arguments(FamilyJob, job.args)
    async with stage.services.database.read() as db:
        found = await documents.documents_of_family(db, job.supplier_id, arguments.family_sku)
        supplier = await suppliers.get_supplier(db, job.supplier_id)
    if not found or max(document.version for document in found) > arguments.version:
        await _supersede(stage, job)
        return
    chosen = [document for document in found if document.speaks]
    read = await asyncio.to_thread(_read, chosen, supplier.code, stage.services.settings)
    stage.progress.note(job, "upserting_product")

    async def work(db: Connection) -> FamilyEffects | None:
        return await _apply(db, stage, job, read, judged=arguments.judged)

    outcome = await stage.services.database.transact(work)
    if outcome is None:
        await _supersede(stage, job)
        return
    await stage.dispatch(
        messages_of(PRODUCT_FAMILY, job.run_id, outcome.families)
        + messages_of(IMAGE_UPLOAD, job.run_id, outcome.images)
    )


def _read(chosen: list[StoredDocument], supplier: str, settings: Settings) -> FamilyRead:
    bodies = [(document.file_name, zstandard.decompress(document.body)) for document in chosen]
    family, warnings = read_family(
        bodies,
        supplier=supplier,
        price_regions=settings.price_regions,
        languages=settings.languages,
        scheme=chosen[0].url.partition(":")[0].lower(),
    )
    return FamilyRead(chosen, prepare(family), warnings)


async def _supersede(stage: Stage, job: ClaimedJob) -> None:
    async def work(db: Connection) -> None:
        await ledger.complete_one(db, job, Superseded())
        await runs.book(db, job.run_id, Counter(families_completed=1), finished=1)

    await stage.services.database.transact(work)


async def _apply(
    db: Connection, stage: Stage, job: ClaimedJob, read: FamilyRead, *, judged: bool
) -> FamilyEffects | None:
    """The whole commit; None when the documents moved on since they were read."""
    family, effects = read.family, Effects()
    await ledger.complete_one(db, job)
    held = await documents.lock_versions(db, [document.id for document in read.chosen])
    if any(held.get(document.id) != (document.version, True) for document in read.chosen):
        await db.rollback()
        return None
    await pictures.hold_addresses(db, family.urls)
    product = await catalogue.lock_product(db, job.supplier_id, family.sku)
    skus = [variant.sku for variant in family.variants]
    product_id = None if product is None else product.id
    stored = await catalogue.lock_variants(db, job.supplier_id, skus, product_id, job.run_id)
    listers = await documents.other_listers(db, job.supplier_id, sorted({*skus, *stored}), family.sku)
    diff = decide(family, product, stored, listers)
    active = sum(variant.status == "active" and variant.product_sku == family.sku for variant in stored.values())
    reason = None if judged or any(item.reread for item in read.chosen) else why_suspect(diff, active, listers)
    if reason is not None:
        return await _doubt(db, job, read, reason)
    stage.progress.note(job, "upserting_variants")
    version = max(document.version for document in read.chosen)
    written = await write_family(db, job, product, diff, version=version)
    await changes.add_changes(
        db, supplier_id=job.supplier_id, run_id=job.run_id, changes=describe(family.sku, product, diff, written)
    )
    await _place_drops(db, job, diff, effects)
    images = await add_image_jobs(
        db,
        job,
        await pictures.unsettled_addresses(db, written.ids, all_of_them=job.options.force),
    )
    await problems.add_problems(db, job.run_id, _problems(read, diff, job))
    await documents.mark_applied(db, {document.id: document.version for document in read.chosen})
    await ledger.set_result(db, job.id, FamilyResult(family.sku, len(diff.variants), len(images)))
    effects.counts += _counts(diff, written.nothing_changed)
    effects.counts["families_total"] += len(effects.added)
    effects.counts["images_total"] += len(images)
    await runs.book(db, job.run_id, effects.counts, added=len(effects.added) + len(images), finished=1)
    return FamilyEffects(effects.added, images)


async def _doubt(db: Connection, job: ClaimedJob, read: FamilyRead, reason: str) -> FamilyEffects:
    """Write nothing of a document that is not believed yet; the next run reads it once more, past caches.

    While documents are still arriving it is only put off: what is missing here may have moved to one of them.
    """
    if not await ledger.supplier_job_is_over(db, job.run_id):
        await documents.doubt(db, [document.id for document in read.chosen])
        await ledger.set_result(db, job.id, FamilyResult(read.family.sku, 0, 0, deferred=True))
        await runs.book(db, job.run_id, Counter(families_completed=1), finished=1)
        return FamilyEffects()
    await documents.suspect(db, [document.id for document in read.chosen])
    doubt = Problem("warning", "family", "suspect", reason, url=read.chosen[0].url, sku=read.family.sku, job_id=job.id)
    await problems.add_problems(db, job.run_id, [doubt])
    await ledger.set_result(db, job.id, FamilyResult(read.family.sku, 0, 0, suspect=True))
    await runs.book(db, job.run_id, Counter(families_completed=1), finished=1)
    return FamilyEffects()


async def _place_drops(db: Connection, job: ClaimedJob, diff: FamilyDiff, effects: Effects) -> None:
    """Variants that the family lists no more are settled by the supplier job's end, or here when that was already."""
    if not diff.dropped:
        return
    await catalogue.mark_dropped(db, [variant.id for variant in diff.dropped], job.run_id)
    if await ledger.supplier_job_is_over(db, job.run_id):
        await place_dropped(db, job, effects, but_not=diff.family.sku)


def _problems(read: FamilyRead, diff: FamilyDiff, job: ClaimedJob) -> list[Problem]:
    url = read.chosen[0].url
    found = [
        Problem("warning", "family", "stale", STALE, url=document.url, sku=read.family.sku, job_id=job.id)
        for document in read.chosen
        if document.stale
    ]
    found += [
        Problem(
            "warning",
            "family",
            "reading",
            f"{warning.field}: {warning.reason}",
            url=url,
            sku=warning.sku or read.family.sku,
            job_id=job.id,
        )
        for warning in read.warnings[:MOST_WARNINGS]
    ]
    if len(read.warnings) > MOST_WARNINGS:
        more = f"{len(read.warnings) - MOST_WARNINGS} more warnings of this document"
        found.append(Problem("warning", "family", "reading", more, url=url, sku=read.family.sku, job_id=job.id))
    found += [
        Problem(
            "warning",
            "family",
            "listed-twice",
            f"family {owner} lists this variant too and keeps it",
            url=url,
            sku=sku,
            job_id=job.id,
        )
        for sku, owner in diff.left_out
    ]
    return found


def _counts(diff: FamilyDiff, nothing_changed: bool) -> Counter[str]:
    counts = Counter(f"variants_{variant.kind}" for variant in diff.variants)
    counts["families_completed"] = 1
    counts["documents_unchanged"] = int(nothing_changed)
    return counts


async def fail_family(db: Connection, job: ClaimedJob) -> None:
    """What a family job's failure leaves behind: its documents are fetched anew next time, even under the same hash."""
    try:
        arguments = msgspec.convert(job.args, FamilyJob)
    except msgspec.ValidationError:
        return
    await documents.forget_fetched(db, job.supplier_id, arguments.family_sku)
