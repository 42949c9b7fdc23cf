"""Family jobs settled: one commit for those that are ready together.

    fence ─▶ documents held ─▶ addresses held ─▶ products and variants held ─▶ decide, each by itself
        ─▶ what is doubted is put off ─▶ write what differs ─▶ changes ─▶ image jobs ─▶ applied_hash ─▶ counters

Locks are taken for the whole batch in the order of docs/decisions/0007: jobs by id, documents by id, addresses by id,
products, variants by (supplier, SKU), runs last. A family that shares a variant with one before it in the batch is left
for the next commit, where it sees what that one wrote: so no rule of the catalogue knows of batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, FamilyResult, Result, Superseded
from app.jobs.messages import Message
from app.persistence import catalogue, changes, documents, ledger, pictures, problems, runs
from app.persistence.changes import Change
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob
from app.persistence.pictures import NamedAddress
from app.persistence.problems import Problem
from app.sync.family.changes import describe
from app.sync.family.counting import count_families
from app.sync.family.deciding import Decided, FamilyReady, decide_families
from app.sync.family.reporting import doubt_of, problems_of
from app.sync.family.writing import write_families
from app.sync.stage.children import image_job
from app.sync.stage.context import Stage, messages_of
from app.sync.stage.dropped import Effects, end_emptied, place_dropped, step_back_held
from app.sync.stage.primaries import place_primaries

FamilyEnd = Literal["ended", "lost", "again"]
"""`lost`: the claim did not hold and nothing was written; `again`: another of the batch goes first."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """A job whose documents moved on, or are gone: it ends without effect."""

    job: ClaimedJob


@dataclass(slots=True)
class Settled:
    """What one job came to."""

    job: ClaimedJob
    result: Result
    counts: Counter[str] = field(default_factory=lambda: Counter(families_completed=1))
    families: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of each job of a batch, and what is to be sent."""

    ends: list[FamilyEnd]
    messages: list[Message]


async def commit_families(db: Connection, stage: Stage, batch: Sequence[FamilyReady | Outdated]) -> Committed:
    """End a batch of jobs in one transaction, and say what became of each.

    Raises:
        RepeatTransaction: something that it goes by changed meanwhile.
        RunCancelled: a run is being cancelled to which this would add jobs.
    """
    held = await ledger.hold(db, [item.job for item in batch])
    mine = [item for item in batch if item.job.id in held]
    current = await _current(db, [item for item in mine if isinstance(item, FamilyReady)])
    addresses = await pictures.hold_addresses(db, [url for item in current for url in item.read.family.urls])
    decided = await decide_families(db, current)
    for item in decided:
        stage.progress.note(item.job, "upserting_variants")
    outdated = {item.job.id for item in mine} - {item.job.id for item in current}
    settled = [Settled(item.job, Superseded()) for item in mine if item.job.id in outdated]
    past = await ledger.runs_past_their_documents(
        db, {item.job.run_id for item in decided if item.doubt is not None or item.diff.dropped}
    )
    settled += await _put_off(db, [item for item in decided if item.doubt is not None], past.over)
    believed = [item for item in decided if item.doubt is None]
    settled += await _write(db, believed, addresses, past.seen, stage.services.settings.price_regions)
    await _end(db, settled)
    ended = {item.job.id for item in settled}
    return Committed(
        ["ended" if item.job.id in ended else "again" if item.job.id in held else "lost" for item in batch],
        [message for item in settled for message in _messages(item)],
    )


async def _current(db: Connection, ready: Sequence[FamilyReady]) -> list[FamilyReady]:
    """Hold the documents; those families whose documents are still the ones that were read."""
    ids = sorted({document.id for item in ready for document in item.read.chosen})
    held = await documents.lock_versions(db, ids) if ids else {}
    return [
        item
        for item in ready
        if all(held.get(document.id) == (document.version, True) for document in item.read.chosen)
    ]


async def _put_off(db: Connection, doubted: Sequence[Decided], over: Set[str]) -> list[Settled]:
    """Write nothing of documents that are not believed yet; the next run reads them once more, past caches.

    While documents of their run are still arriving they are only put off: what is missing may have moved to one of
    them.
    """
    early = [item for item in doubted if item.job.run_id not in over]
    late = [item for item in doubted if item.job.run_id in over]
    await documents.doubt(db, _document_ids(early))
    await documents.suspect(db, _document_ids(late))
    await _tell(db, late, [(item.job.run_id, doubt_of(item)) for item in late])
    uncounted = Counter(families_total=-1)  # the job that decides at the end counts
    settled = [Settled(item.job, FamilyResult(item.read.family.sku, 0, 0, deferred=True), uncounted) for item in early]
    settled += [Settled(item.job, FamilyResult(item.read.family.sku, 0, 0, suspect=True)) for item in late]
    first_of_run = {end.job.run_id: end for end in reversed(settled) if end.job.run_id in over}
    for end in first_of_run.values():  # what waits is looked for in all families of a supplier at once
        end.counts.update(variants_updated=await step_back_held(db, end.job))
    return settled


async def _tell(db: Connection, again: Sequence[Decided], told: Sequence[tuple[str, Problem]]) -> None:
    """Warn once a run: of families that another job of it may have warned of, what holds now takes its place."""
    await problems.forget_warnings(db, [(item.job.run_id, *item.ready.name) for item in again])
    await problems.add_problems_of(db, told)


def _document_ids(families: Sequence[Decided]) -> list[int]:
    return [document.id for item in families for document in item.read.chosen]


async def _write(
    db: Connection,
    families: Sequence[Decided],
    addresses: Mapping[str, NamedAddress],
    seen: Set[str],
    price_regions: Sequence[str],
) -> list[Settled]:
    if not families:
        return []
    written = await write_families(db, families, addresses)
    counts = await count_families(db, families)
    placed = await _place_primaries(db, families, price_regions)
    await changes.add_changes_of(
        db,
        [
            (family.job.supplier_id, family.job.run_id, change)
            for family in families
            for change in (*describe(family, written), *placed.get(family.job.id, ()))
        ],
    )
    await end_emptied(db, {name: family.job for family in families for name in family.takes_from})
    drops = await _place_drops(db, families, seen, price_regions)
    images = await _add_image_jobs(db, families, addresses)
    again = [family for family in families if family.was_written]
    await _tell(db, again, [(family.job.run_id, problem) for family in families for problem in problems_of(family)])
    await documents.mark_applied(
        db, {document.id: document.version for family in families for document in family.read.chosen}
    )
    ends = []
    for family in families:
        effects = drops.get(family.job.id, Effects())
        counts[family.job.id].update(effects.counts, variants_updated=len(placed.get(family.job.id, ())))
        ends.append(_settled(family, counts[family.job.id], effects.added, images[family.job.id]))
    return ends


async def _place_primaries(
    db: Connection, families: Sequence[Decided], price_regions: Sequence[str]
) -> dict[str, list[Change]]:
    """Let another variant stand for products that these families took theirs from; what is told of it, by job.

    Of a product that has a new one itself, a discontinued one that stood for it steps back.
    """
    reasons: dict[tuple[int, str], str] = {}
    for family in families:
        supplier_id, sku = family.ready.name
        for item in family.diff.variants:
            if item.stood_for is not None and item.stood_for != sku:
                reasons[supplier_id, item.stood_for] = family.job.id
            if item.is_primary and family.product is not None and item.stood_for != sku:
                reasons[supplier_id, sku] = family.job.id
    told: dict[str, list[Change]] = {}
    for product, change in await place_primaries(db, list(reasons), price_regions):
        told.setdefault(reasons[product], []).append(change)
    return told


async def _place_drops(
    db: Connection, families: Sequence[Decided], seen: Set[str], price_regions: Sequence[str]
) -> dict[str, Effects]:
    """Variants that families list no more are settled by the supplier job's end, or here when that was already.

    Where it failed not all documents were seen, and one may have moved to those: the next run's end settles it.
    """
    dropping = [family for family in families if family.diff.dropped]
    await catalogue.mark_dropped(
        db, {variant.id: family.job.run_id for family in dropping for variant in family.diff.dropped}
    )
    effects = {}
    first_of_run = {family.job.run_id: family.job for family in reversed(dropping) if family.job.run_id in seen}
    for _, job in sorted(first_of_run.items()):
        effects[job.id] = Effects()
        written = [family.ready.name[1] for family in families if family.job.supplier_id == job.supplier_id]
        await place_dropped(db, job, effects[job.id], price_regions, but_not=written)
    return effects


async def _add_image_jobs(
    db: Connection, families: Sequence[Decided], addresses: Mapping[str, NamedAddress]
) -> dict[str, list[str]]:
    """Image jobs for what the families' pictures wait for, or for all of them by `force`; their ids by parent."""
    children = [
        (family.job, image_job(family.job, address_id))
        for family in families
        for address_id in sorted(_wanted(family, addresses))
    ]
    added = set(await ledger.add_children(db, children))
    return {
        family.job.id: [child.id for job, child in children if job is family.job and child.id in added]
        for family in families
    }


def _wanted(family: Decided, addresses: Mapping[str, NamedAddress]) -> set[int]:
    named = [addresses[picture["url"]] for item in family.diff.variants for picture in item.variant.pictures]
    return {address.id for address in named if address.wanted or family.job.options.force}


def _settled(family: Decided, counts: Counter[str], families: list[str], images: list[str]) -> Settled:
    counts["families_completed"] += 1
    counts["families_total"] += len(families)
    counts["images_total"] += len(images)
    result = FamilyResult(
        family.read.family.sku,
        len(family.diff.variants),
        len(images),
        documents_unchanged=max(0, counts["documents_unchanged"]),
    )
    return Settled(family.job, result, counts, families, images)


async def _end(db: Connection, settled: Sequence[Settled]) -> None:
    await ledger.complete(db, [(item.job, item.result) for item in settled])
    of_run = groupby(sorted(settled, key=_run_of), key=_run_of)
    await runs.book_each(db, [_move(run_id, list(ended)) for run_id, ended in of_run])


def _run_of(item: Settled) -> str:
    return item.job.run_id


def _move(run_id: str, ended: Sequence[Settled]) -> runs.Move:
    counts: Counter[str] = Counter()
    for item in ended:
        counts.update(item.counts)
    added = sum(len(item.families) + len(item.images) for item in ended)
    return runs.Move(run_id, counts, added, finished=len(ended))


def _messages(item: Settled) -> list[Message]:
    return [
        *messages_of(PRODUCT_FAMILY, item.job.run_id, item.families),
        *messages_of(IMAGE_UPLOAD, item.job.run_id, item.images),
    ]
