"""The supplier stage: one supplier's manifest in, documents stored and family jobs out.

    manifest ─▶ the one that left nothing to do? ─▶ done
       │
       └─▶ diff against what was applied ─▶ fetch what is new, changed or unfinished
       10 %            │                              30 %  │ after 0.2 s, 0.4 s ... 2 s, or 200 documents:
       │               └─▶ pictures left unsettled          │ fence, bodies, listings, family jobs, counters
       │                                                    ▼
       └─▶ 50 % families of documents that wait for others ─▶ 60 % removals ─▶ 70 % sent ─▶ 100 %

A document with children goes on to the family stage at once, while others are still being fetched. What is committed is
the checkpoint: a job that is run again fetches only what its run has not fetched yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from app.catalogue.file_names import SpokenFor
from app.catalogue.suspicion import takes_most
from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, SupplierJob, read_arguments
from app.persistence import documents, ledger, problems, runs, suppliers
from app.persistence.database import Connection
from app.persistence.documents import ManifestDiff, SaidEntry, WantedDocument
from app.persistence.ledger import ClaimedJob
from app.persistence.problems import Problem
from app.persistence.suppliers import Supplier
from app.sync.stage.children import add_family_jobs, add_old_pictures
from app.sync.stage.context import Stage, messages_of
from app.sync.stage.places import place_within_s
from app.sync.stage.tasks import together
from app.sync.supplier import manifest_step
from app.sync.supplier.arrivals_step import Arrivals
from app.sync.supplier.asked import Asked, AskedFamilies
from app.sync.supplier.categories_step import refresh_categories
from app.sync.supplier.documents_step import DocumentFetcher
from app.sync.supplier.manifest_step import Manifest
from app.sync.supplier.removals_step import SupplierEnd, finish_supplier
from app.sync.supplier.reparse import reparse_supplier
from app.sync.supplier.unchanged_step import finish_unchanged, nothing_to_do

FAMILIES_AT_ONCE = 1_000


@dataclass(slots=True)
class SupplierSync:
    """One supplier job under way."""

    stage: Stage
    job: ClaimedJob
    supplier: Supplier
    manifest: Manifest
    spoken_for: SpokenFor = field(init=False)
    asked: Asked = field(init=False)

    def __post_init__(self) -> None:
        code = self.supplier.code
        self.spoken_for = SpokenFor(code, self.manifest.data.entries.get(code, {}))
        self.asked = Asked(code, self.job.options.skus, self.spoken_for)


async def sync_supplier(stage: Stage, job: ClaimedJob) -> None:
    """Run a supplier job to its end, committing as it goes.

    Raises:
        ClaimLost, RunCancelled: it is not ours any more; what was committed stays.
        NoPlace: nothing is begun, and the feed's host is not to be asked for now; later.
        TransientError, PermanentError: the manifest could not be had or read.
        DatabaseUnavailable: PostgreSQL is away; to be tried again at no cost.
    """
    arguments = read_arguments(SupplierJob, job.args)
    stage.progress.note(job, "parsing_import")
    supplier = await _begin(stage, job, arguments)
    if job.options.reparse:
        await reparse_supplier(stage, job)
        return
    within_s = place_within_s(stage.services.settings.job_timeout_supplier_ms)
    body = await manifest_step.fetch(stage.services, place_within_s=within_s)
    await refresh_categories(stage, job, body.profile)
    if nothing_to_do(stage.services.settings, supplier, job, body):
        await finish_unchanged(stage, job, supplier, body)
        return
    manifest = await manifest_step.read(stage.services, body)
    await manifest_step.keep(stage.services, job, body, manifest.data.total)
    sync = SupplierSync(stage, job, supplier, manifest)
    diff = await _take_manifest(sync)
    stage.progress.note(job, "fetching_variants")
    await _fetch(sync, _to_fetch(sync, diff))
    stage.progress.note(job, "grouping_families")
    if diff.wanted:
        await _place_documents(sync)
    asked = await _settle_asked(sync, diff)
    if diff.wanted:
        await _group_families(sync, asked)
    stage.progress.note(job, "checking_hashes")
    await finish_supplier(SupplierEnd(stage, job, supplier, manifest, diff, asked))


def _to_fetch(sync: SupplierSync, diff: ManifestDiff) -> list[WantedDocument]:
    asked = sync.asked.documents(diff.wanted)
    return [item for item in asked if not (item.stored or item.paused or item.failed_here)]


async def _settle_asked(sync: SupplierSync, diff: ManifestDiff) -> AskedFamilies:
    """Which families are meant, now that the documents that may be theirs have been read."""
    if sync.job.options.skus is None:
        return AskedFamilies(None)
    async with sync.stage.services.database.read() as db:
        families = await documents.families_of(db, [item.id for item in sync.asked.documents(diff.wanted)])
    return sync.asked.settle(diff.wanted, families)


async def _begin(stage: Stage, job: ClaimedJob, arguments: SupplierJob) -> Supplier:
    async def work(db: Connection) -> Supplier:
        await ledger.fence(db, job)
        await runs.mark_running(db, job.run_id)
        return await suppliers.get_supplier(db, arguments.supplier_id)

    return await stage.services.database.transact(work)


async def _take_manifest(sync: SupplierSync) -> ManifestDiff:
    """Write what the manifest says, and take up the pictures that an earlier run left unsettled."""
    job, supplier, data = sync.job, sync.supplier, sync.manifest.data
    said = [
        SaidEntry(entry.file_name, entry.url, entry.hash)
        for entry in sorted(data.entries_of(supplier.code), key=lambda entry: entry.file_name)
    ]
    invalid, invalid_count = data.invalid_of(supplier.code), data.invalid_count_of(supplier.code)

    async def work(db: Connection) -> tuple[ManifestDiff, list[str]]:
        await ledger.fence(db, job)
        diff = await documents.take_manifest(
            db,
            supplier.id,
            said,
            run_id=job.run_id,
            force=job.options.force,
        )
        await _add_rereads(db, sync, diff)
        await problems.forget_problems(db, job.run_id, ("manifest-line",))
        await problems.add_problems(
            db,
            job.run_id,
            [
                Problem("warning", "supplier", "manifest-line", line.reason, line=line.line, job_id=job.id)
                for line in invalid
            ],
        )
        if invalid_count or not diff.nothing_to_do:
            await suppliers.note_clean(db, supplier.id, None, None)
        image_jobs = await add_old_pictures(db, job, sync.stage.services.settings)
        to_fetch = len(_to_fetch(sync, diff))
        await runs.set_manifest(db, job.run_id, sync.manifest.sha256, diff, invalid=invalid_count, to_fetch=to_fetch)
        await runs.book(db, job.run_id, Counter(images_total=len(image_jobs)), added=len(image_jobs), last=True)
        return diff, image_jobs

    diff, image_jobs = await sync.stage.services.database.transact(work)
    await sync.stage.dispatch(messages_of(IMAGE_UPLOAD, job.run_id, image_jobs))
    return diff


async def _add_rereads(db: Connection, sync: SupplierSync, diff: ManifestDiff) -> None:
    """Documents whose turn it is to be read again, beside those that the manifest says have changed."""
    share = sync.stage.services.settings.reread_share_a_day
    if share and not sync.job.options.force:
        diff.wanted.extend(await documents.due_for_rereading(db, sync.supplier.id, share))


async def _fetch(sync: SupplierSync, wanted: Sequence[WantedDocument]) -> None:
    fetcher = DocumentFetcher(
        sync.stage.services, sync.supplier.code, wanted, waits=partial(sync.stage.progress.note_wait, sync.job)
    )
    async with together() as group:
        group.create_task(fetcher.run())
        await Arrivals(sync.stage, sync.job, sync.spoken_for, sync.asked).commit(fetcher.outcomes)


async def _group_families(sync: SupplierSync, asked: AskedFamilies) -> None:
    """Make the jobs of families that had to wait for other documents, in pages."""
    job, after = sync.job, ""
    while True:

        async def work(db: Connection, after: str = after) -> tuple[list[documents.OpenFamily], list[str]]:
            await ledger.fence(db, job)
            page = await documents.unapplied_families(
                db, sync.supplier.id, after=after, limit=FAMILIES_AT_ONCE, run_id=job.run_id
            )
            meant = [family for family in page if asked.skus is None or family.sku in asked.skus]
            added = await add_family_jobs(db, job, [(family.sku, family.version) for family in meant])
            if added:
                await ledger.checkpoint(db, job)
            await runs.book(db, job.run_id, Counter(families_total=len(added)), added=len(added), last=True)
            return page, added

        page, added = await sync.stage.services.database.transact(work)
        await sync.stage.dispatch(messages_of(PRODUCT_FAMILY, job.run_id, added))
        if not page:
            return
        after = page[-1].sku


async def _place_documents(sync: SupplierSync) -> None:
    """Leave documents that lost their children with their families where that is doubted, and pass over silent ones.

    Where nothing is doubted they are grouped as they were read, and so they are once the doubt is over.
    """

    async def work(db: Connection) -> None:
        await ledger.fence(db, sync.job)
        emptied = await documents.emptied_families(db, sync.supplier.id)
        doubted = [family.document_id for family in emptied if takes_most(family.going, family.active)]
        await documents.return_to_family(db, doubted)
        await documents.pass_over_silent(db, sync.supplier.id)

    await sync.stage.services.database.transact(work)
