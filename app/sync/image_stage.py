"""The image stage: one address in; a stored picture, and everything that shows the address shows it.

    address ─▶ stored already? ─────────────────────────────▶ link only
       │       named by no generation any more? ────────────▶ superseded, nothing is asked
       └─▶ GET ─▶ inspect ─▶ bytes known? ─▶ link only │ put ─▶ batch commit:
              fence ─▶ media ─▶ address ─▶ variants whose newest generation waits for nothing now ─▶ changes ─▶ counters

The bytes are in the object store before the commit, so what is recorded is there. Lookups and ends of jobs that run at
the same time share their round trips. The slot is free as soon as the bytes are stored: the commit overlaps with the
next download.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import ClaimLost, OriginRefused, PromidataSyncError
from app.failpoints import reach
from app.feed.manifest import request_url
from app.images.download import DownloadedPicture, NotModified, download_picture
from app.jobs.definitions import ImageJob, read_arguments
from app.outbound import FetchLimits
from app.persistence import changes, ledger, pictures, runs
from app.persistence.changes import Change
from app.persistence.ledger import ClaimedJob
from app.persistence.pictures import Address, FailedPicture, FlippedVariant, StoredPicture
from app.settings import Settings
from app.sync.batching import Batcher
from app.sync.documents_step import DEAD_STATUSES
from app.sync.stage import Stage


class Settled(msgspec.Struct, frozen=True):
    """How an image job ended, to be committed."""

    job: ClaimedJob
    address_id: int
    picture: StoredPicture | None = None
    """What the address leads to now; None when nothing changed about it."""
    sha256: str | None = None
    deduplicated: bool = True
    superseded: bool = False


class ImageStage:
    """The image jobs of one process."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._services = stage.services
        self._addresses: Batcher[int, Address | None] = Batcher(self._load)
        self._media: Batcher[bytes, str | None] = Batcher(self._known)
        self._ends: Batcher[Settled, bool] = Batcher(self._commit, most=50)
        self._storing: dict[str, asyncio.Future[bool]] = {}

    async def run(self, job: ClaimedJob, free_slot: Callable[[], None]) -> None:
        """Run an image job to its end; `free_slot` is called once only the commit is left.

        Raises:
            ClaimLost: it is not ours any more; nothing was written.
            TransientError, PermanentError: the picture could not be had.
            StoreUnavailable, DatabaseUnavailable: an outage; to be tried again at no cost.
        """
        arguments = read_arguments(ImageJob, job.args)
        address = await self._addresses.ask(arguments.address_id)
        settled = await self._settle(job, arguments, address)
        free_slot()
        if not await self._ends.ask(settled):
            raise ClaimLost(f"job {job.id} is not this worker's any more")

    async def _settle(self, job: ClaimedJob, arguments: ImageJob, address: Address | None) -> Settled:
        if address is None or not address.named:
            return Settled(job, arguments.address_id, superseded=True)
        if address.state == "stored" and not arguments.revalidate:
            return Settled(job, address.id, sha256=_sha256_of(address))
        got = await self._download(address)
        if isinstance(got, NotModified):
            return Settled(job, address.id, sha256=_sha256_of(address))
        deduplicated = await self._store(got)
        return Settled(job, address.id, _stored(address, got), got.sha256, deduplicated)

    async def _download(self, address: Address) -> DownloadedPicture | NotModified:
        conditional = address.state == "stored" and await self._is_whole(address)
        return await download_picture(
            self._services.outbound,
            self._services.inspector,
            request_url(address.url),
            limits=picture_limits(self._services.settings),
            etag=address.etag if conditional else None,
            last_modified=address.last_modified if conditional else None,
        )

    async def _is_whole(self, address: Address) -> bool:
        """Whether the object store still has what the address leads to, with its size."""
        if address.key is None:
            return False
        found = await self._services.store.head(address.key)
        return found is not None and found.size == address.size_bytes

    async def _store(self, got: DownloadedPicture) -> bool:
        """Put the bytes unless they are there; whether they were. Of equal bytes that arrive together one is put."""
        while (under_way := self._storing.get(got.sha256)) is not None:
            if await asyncio.shield(under_way):
                return True
        self._storing[got.sha256] = stored = asyncio.get_running_loop().create_future()
        try:
            known = await self._store_alone(got)
            stored.set_result(True)
            return known
        finally:
            del self._storing[got.sha256]
            if not stored.done():
                stored.set_result(False)  # whoever waited puts it

    async def _store_alone(self, got: DownloadedPicture) -> bool:
        known = await self._media.ask(bytes.fromhex(got.sha256))
        if known is not None:
            found = await self._services.store.head(known)
            if found is not None and found.size == len(got.body):
                return True
        reach("picture:before-put")
        await self._services.store.put(got.key, got.body, got.facts.content_type)
        reach("picture:after-put")
        return known is not None

    async def _load(self, ids: Sequence[int]) -> list[Address | None]:
        async with self._services.database.quick() as db:
            found = await pictures.addresses(db, ids)
        return [found.get(address_id) for address_id in ids]

    async def _known(self, hashes: Sequence[bytes]) -> list[str | None]:
        async with self._services.database.quick() as db:
            found = await pictures.known_media(db, hashes)
        return [found.get(sha256) for sha256 in hashes]

    async def _commit(self, batch: Sequence[Settled]) -> list[bool]:
        """End a batch of jobs in one transaction; False for those whose claim did not hold, which wrote nothing."""

        async def work(db: AsyncConnection) -> set[str]:
            held = await ledger.complete(db, [(item.job, _result(item)) for item in batch])
            await _write(db, [item for item in batch if item.job.id in held])
            return held

        held = await self._services.database.transact(work)
        return [item.job.id in held for item in batch]


async def _write(db: AsyncConnection, mine: Sequence[Settled]) -> None:
    if not mine:
        return
    before = await pictures.states(db, sorted({item.address_id for item in mine}))
    fresh = await pictures.record_stored(db, [item.picture for item in mine if item.picture is not None])
    await pictures.record_unchanged(
        db, [item.address_id for item in mine if item.picture is None and not item.superseded]
    )
    moved = [item.address_id for item in mine if item.picture is not None]
    late = [address_id for address_id in moved if before.get(address_id) == "failed"]
    shown = await show_pictures(db, moved, late)
    await _note_changes(db, mine, shown)
    for run_id in sorted({item.job.run_id for item in mine}):
        ended = [item for item in mine if item.job.run_id == run_id]
        await runs.settle(db, run_id, _counts(ended, fresh), finished=len(ended))


async def show_pictures(db: AsyncConnection, settled: Sequence[int], late: Sequence[int]) -> list[FlippedVariant]:
    """Show the generations that wait for none of `settled` any more, and note those that show one of `late` already."""
    if not settled:
        return []
    flipped = await pictures.show_settled(db, await pictures.lock_showing(db, settled))
    also = await pictures.showing_already(db, late) if late else []
    shown = sorted({*flipped, *also}, key=lambda item: (item.supplier_id, item.product_sku, item.sku))
    await pictures.touch_products_showing(db, shown)
    return shown


async def _note_changes(db: AsyncConnection, mine: Sequence[Settled], shown: Sequence[FlippedVariant]) -> None:
    runs_of = {item.job.supplier_id: item.job.run_id for item in mine}
    await note_shown(db, shown, runs_of)


async def note_shown(db: AsyncConnection, shown: Sequence[FlippedVariant], runs_of: dict[int, str]) -> None:
    """Write that variants show other pictures; `runs_of` says which run of their supplier did it."""
    for supplier_id in sorted({item.supplier_id for item in shown}):
        await changes.add_changes(
            db,
            supplier_id=supplier_id,
            run_id=runs_of.get(supplier_id),
            changes=[
                Change("updated", "variant", item.sku, item.product_sku, ("images",))
                for item in shown
                if item.supplier_id == supplier_id
            ],
        )


def _counts(ended: Sequence[Settled], fresh: set[int]) -> Counter[str]:
    superseded = sum(item.superseded for item in ended)
    uploaded = sum(item.address_id in fresh for item in ended)
    return Counter(
        images_uploaded=uploaded,
        images_deduplicated=len(ended) - superseded - uploaded,
        images_total=-superseded,
    )


def _result(item: Settled) -> dict[str, Any]:
    if item.superseded:
        return {"superseded": True}
    return {"sha256": item.sha256, "deduplicated": item.deduplicated}


def _stored(address: Address, got: DownloadedPicture) -> StoredPicture:
    return StoredPicture(
        address_id=address.id,
        sha256=bytes.fromhex(got.sha256),
        key=got.key,
        content_type=got.facts.content_type,
        width=got.facts.width,
        height=got.facts.height,
        size_bytes=len(got.body),
        etag=got.etag,
        last_modified=got.last_modified,
    )


def _sha256_of(address: Address) -> str | None:
    return None if address.key is None else address.key.rpartition("/")[2].partition(".")[0]


def picture_limits(settings: Settings) -> FetchLimits:
    """What one picture may cost."""
    return FetchLimits(
        max_bytes=settings.picture_max_bytes,
        connect_timeout_s=settings.connect_timeout_s,
        first_byte_timeout_s=settings.first_byte_timeout_s,
        total_timeout_s=settings.picture_timeout_s,
    )


async def fail_picture(db: AsyncConnection, job: ClaimedJob, error: PromidataSyncError) -> None:
    """What an image job's failure leaves behind: its address failed, and generations wait for it no more."""
    try:
        address_id = msgspec.convert(job.args, ImageJob).address_id
    except msgspec.ValidationError:
        return
    await pictures.states(db, [address_id])
    dead = isinstance(error, OriginRefused) and error.status in DEAD_STATUSES
    await pictures.record_failed(db, [FailedPicture(address_id, str(error), dead)])
    shown = await show_pictures(db, [address_id], [])
    await note_shown(db, shown, {job.supplier_id: job.run_id})


async def address_of(db: AsyncConnection, job: ClaimedJob) -> str | None:
    """The address of an image job, for its problem."""
    try:
        address_id = msgspec.convert(job.args, ImageJob).address_id
    except msgspec.ValidationError:
        return None
    found = await pictures.addresses(db, [address_id])
    return found[address_id].url if address_id in found else None
