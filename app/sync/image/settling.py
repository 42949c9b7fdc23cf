"""Image jobs settled: one commit for those that end together.

    removals held ─▶ objects still there? ─▶ fence ─▶ addresses held ─▶ media ─▶ addresses
        ─▶ products and variants held ─▶ generations that wait for nothing now are shown ─▶ changes ─▶ counters

Locks are taken in the order of docs/decisions/0007: jobs by id, addresses by id, products, variants by (supplier, SKU),
runs last; what a job writes depends on none of its batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Literal

import msgspec

from app.jobs.definitions import ImageResult, Superseded
from app.persistence import changes, ledger, media, pictures, runs
from app.persistence.changes import Change
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob
from app.persistence.media import KnownMedia, StoredPicture
from app.persistence.pictures import FlippedVariant

PictureEnd = Literal["ended", "lost", "again"]
"""`lost`: the claim did not hold and nothing was written; `again`: the object may be gone, or what was named by nothing
is named by now, nothing was written."""


class NamedAgain(Exception):
    """Addresses that jobs found named by nothing are named by now; nothing of the batch was written."""

    def __init__(self, job_ids: frozenset[str]) -> None:
        super().__init__(job_ids)
        self.job_ids = job_ids


class Settled(msgspec.Struct, frozen=True):
    """How an image job ended, to be committed."""

    job: ClaimedJob
    address_id: int
    picture: StoredPicture | None = None
    """What the address leads to now; None when nothing changed about it."""
    sha256: str | None = None
    confirmed: bool = False
    """The origin was asked and has what we have."""
    superseded: bool = False


class Recorded(msgspec.Struct, frozen=True):
    """What recording pictures led to."""

    fresh: set[bytes]
    """The sha256 of bytes that were new to us."""
    shown: list[FlippedVariant]
    """Variants that readers see with other pictures."""


async def commit_settled(
    db: Connection, batch: Sequence[Settled], named_again: frozenset[str] = frozenset()
) -> list[PictureEnd]:
    """End a batch of jobs in one transaction, and say what became of each.

    `named_again` are jobs that are not superseded after all: they have to begin anew.

    Raises:
        NamedAgain: there are others of that kind.
    """
    await media.hold_removals(db)
    known = await _known(db, batch)
    kept = [
        item
        for item in batch
        if item.job.id not in named_again and (item.picture is None or not _is_gone(item.picture, known))
    ]
    guess = _first_of_each(kept, {sha256 for sha256, found in known.items() if found.key is None})
    held = await ledger.complete(db, [(item.job, _result(item, fresh=item in guess)) for item in kept])
    await _write(db, [item for item in kept if item.job.id in held], guess)
    again = {item.job.id for item in batch} - {item.job.id for item in kept}
    return ["again" if item.job.id in again else "ended" if item.job.id in held else "lost" for item in batch]


async def _known(db: Connection, batch: Sequence[Settled]) -> dict[bytes, KnownMedia]:
    hashes = sorted({item.picture.sha256 for item in batch if item.picture is not None})
    return dict(zip(hashes, await media.known_media(db, hashes), strict=True)) if hashes else {}


def _is_gone(picture: StoredPicture, known: Mapping[bytes, KnownMedia]) -> bool:
    """Whether the object was removed since it was put or seen, or may be at any moment."""
    found = known[picture.sha256]
    return found.being_removed or found.removals != picture.removals


async def _write(db: Connection, mine: Sequence[Settled], guess: Sequence[Settled]) -> None:
    if not mine:
        return
    recorded = await record_pictures(
        db,
        [item.picture for item in mine if item.picture is not None],
        also_held=[item.address_id for item in mine],
        alone=any(item.picture is not None and item.job.args.get("revalidate") for item in mine),
    )
    await _refuse_named(db, mine)
    await pictures.record_unchanged(db, [item.address_id for item in mine if item.confirmed])
    uploads = _first_of_each(mine, recorded.fresh)
    for item in mine:  # hardly ever: another transaction recorded the same bytes in between
        if (item in uploads) != (item in guess):
            await ledger.set_result(db, item.job.id, _result(item, fresh=item in uploads))
    await note_shown(db, recorded.shown, {item.job.supplier_id: item.job.run_id for item in mine})
    uploaded = {item.job.id for item in uploads}
    of_run = groupby(sorted(mine, key=_run_of), key=_run_of)
    await runs.book_each(db, [_move(run_id, list(ended), uploaded) for run_id, ended in of_run])


async def _refuse_named(db: Connection, mine: Sequence[Settled]) -> None:
    """See that superseded addresses, which are held now, are named by nothing still.

    Whoever named one since found its open job, and wrote none; whoever comes later finds the job ended, and writes one.

    Raises:
        NamedAgain: one is named by now.
    """
    superseded = [item for item in mine if item.superseded]
    if superseded:
        found = await pictures.addresses(db, [item.address_id for item in superseded])
        named = {address.id for address in found.values() if address.named}
        if named:
            raise NamedAgain(frozenset(item.job.id for item in superseded if item.address_id in named))


async def commit_repair(db: Connection, picture: StoredPicture) -> bool:
    """Record a picture that no job asked for; False when its object was removed meanwhile and nothing was written."""
    await media.hold_removals(db)
    (found,) = await media.known_media(db, [picture.sha256])
    if _is_gone(picture, {picture.sha256: found}):
        return False
    recorded = await record_pictures(db, [picture], alone=True)
    await note_shown(db, recorded.shown, {})
    return True


async def record_pictures(
    db: Connection, stored: Sequence[StoredPicture], *, also_held: Sequence[int] = (), alone: bool
) -> Recorded:
    """Record pictures that are in the store, and show what waited for them; under `media.hold_removals`.

    The changes of what is shown are the caller's to write.

    Args:
        db: the transaction.
        stored: what arrived.
        also_held: addresses to lock beside theirs.
        alone: one of the addresses may have led to another picture before, see `pictures.hold`.
    """
    moved = sorted({picture.address_id for picture in stored})
    before = await pictures.hold(db, sorted({*also_held, *moved}), alone=alone)
    if not stored:
        return Recorded(set(), [])
    recorded = await media.record_stored(db, stored)
    other = [item for item in moved if item in before and recorded.led_to.get(item) != before[item].media_id]
    return Recorded(recorded.fresh, await show_pictures(db, {item: before[item].media_id for item in other}))


async def show_pictures(db: Connection, led_to: Mapping[int, int | None]) -> list[FlippedVariant]:
    """Show the generations that wait for none of these addresses any more; returns what readers see otherwise now.

    `led_to` says which media each address led to before this transaction.
    """
    if not led_to:
        return []
    showing = await pictures.lock_showing(db, list(led_to))
    flipped = await pictures.show_settled(db, list(showing), led_to)
    already: list[FlippedVariant] = []
    if any(showing.values()) or any(media_id is not None for media_id in led_to.values()):
        already = await pictures.showing_already(db, led_to, but_not=[item.id for item in flipped])
    seen = sorted([*flipped, *already], key=lambda item: (item.supplier_id, item.product_sku, item.sku))
    shown = [item for item in seen if item.looks_otherwise]
    await pictures.touch_products_showing(db, shown)
    return shown


async def note_shown(db: Connection, shown: Sequence[FlippedVariant], runs_of: Mapping[int, str]) -> None:
    """Write that variants show other pictures; `runs_of` says which run of their supplier did it."""
    for supplier_id in sorted({item.supplier_id for item in shown}):
        await changes.add_changes(
            db,
            supplier_id=supplier_id,
            run_id=runs_of.get(supplier_id),
            changes=[
                Change(
                    "updated",
                    "variant",
                    item.sku,
                    item.product_sku,
                    ("images",),
                    {"images": item.old},
                    {"images": item.new},
                )
                for item in shown
                if item.supplier_id == supplier_id
            ],
        )


def _first_of_each(mine: Sequence[Settled], fresh: set[bytes]) -> list[Settled]:
    """Of several jobs in one batch with the same new bytes, one counts as uploaded."""
    first: dict[bytes, Settled] = {}
    for item in mine:
        if item.picture is not None and item.picture.sha256 in fresh:
            first.setdefault(item.picture.sha256, item)
    return list(first.values())


def _run_of(item: Settled) -> str:
    return item.job.run_id


def _move(run_id: str, ended: Sequence[Settled], uploaded: set[str]) -> runs.Move:
    superseded = sum(item.superseded for item in ended)
    fresh = sum(item.job.id in uploaded for item in ended)
    old = len(ended) - superseded - fresh
    counts = Counter(images_uploaded=fresh, images_deduplicated=old, images_total=-superseded)
    return runs.Move(run_id, counts, added=0, finished=len(ended))


def _result(item: Settled, *, fresh: bool) -> ImageResult | Superseded:
    return Superseded() if item.superseded else ImageResult(item.sha256, not fresh)
