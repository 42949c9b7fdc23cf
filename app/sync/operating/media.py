"""What operators do to the object store: see that it has what is recorded, and remove what nobody needs.

    verify    media rows ─▶ HEAD, ten at a time ─▶ missing, of another size ─ repair ─▶ GET, put, commit
                                                                              no address leads there ─▶ forgotten
    orphans   addresses that nothing shows ─▶ forgotten
              media that nothing shows, objects that nothing records ─▶ marked (app/persistence/media.py) ─▶ deleted

Both may run beside syncs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TypeVar

import msgspec

from app.errors import NoPlace, PermanentError, StoreDeclines, StoreUnavailable, TransientError
from app.images.download import DownloadedPicture, NotModified
from app.images.store import is_media_key
from app.persistence import audit, media, pictures
from app.persistence.database import Connection
from app.persistence.media import REMOVAL_LEASE_S, MediaRow
from app.persistence.pictures import Address
from app.sync.image.settling import commit_repair
from app.sync.image.stage import fetch_picture, stored_picture
from app.sync.image.storing import PictureStorer
from app.sync.services import Services
from app.sync.stage.backoff import retry_wait_s
from app.sync.stage.tasks import together

AT_ONCE = 10
PAGE = 1_000
REMOVED_AT_ONCE = 200
Item = TypeVar("Item")


class WrongObject(msgspec.Struct):
    """A recorded object that the store has not, or not as recorded."""

    key: str
    found: str
    """`missing`, or its size and the one recorded."""
    repaired: bool = False
    """It was put back."""
    forgotten: bool = False
    """No address leads to it any more, so it is recorded no longer."""
    reason: str | None = None
    """Why neither could be done."""


class VerifyReport(msgspec.Struct):
    """What `media verify` found."""

    checked: int = 0
    wrong: list[WrongObject] = msgspec.field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the store has everything now."""
        return all(item.repaired or item.forgotten for item in self.wrong)

    def count(self) -> dict[str, int]:
        """How many were looked at, and what was found and done, as the audit trail has it."""
        repaired, forgotten = sum(item.repaired for item in self.wrong), sum(item.forgotten for item in self.wrong)
        counts = {"checked": self.checked, "wrong": len(self.wrong), "repaired": repaired}
        return counts | ({"forgotten": forgotten} if forgotten else {})


class OrphanReport(msgspec.Struct):
    """What `media orphans` found, and what of it is gone now."""

    addresses: int = 0
    """Addresses that nothing shows."""
    media: list[str] = msgspec.field(default_factory=list)
    """Keys of recorded pictures that nothing shows."""
    objects: list[str] = msgspec.field(default_factory=list)
    """Keys of objects that nothing records."""
    foreign: list[str] = msgspec.field(default_factory=list)
    """Objects that are none of ours; they are never removed."""
    deleted: int = 0
    """Objects that were removed."""


async def verify_media(services: Services, *, repair: bool = False) -> VerifyReport:
    """Look whether each recorded object is in the store with its size; `repair` fetches the others again.

    Raises:
        StoreUnavailable, DatabaseUnavailable: a part is away; what was repaired stays.
    """
    report, storer = VerifyReport(), PictureStorer(services)
    if repair:
        await services.database.transact(audit.note_begun)

    async def look(row: MediaRow) -> None:
        found = await services.store.head(row.key)
        report.checked += 1
        if found is not None and found.size == row.size_bytes:
            return
        what = "missing" if found is None else f"{found.size} bytes in place of {row.size_bytes}"
        wrong = WrongObject(row.key, what)
        report.wrong.append(wrong)
        if repair:
            await _repair(services, storer, row, wrong)

    after = 0
    while page := await _page(services, after):
        await _each(page, look)
        after = page[-1].id
        audit.mention(None, **report.count())
    report.wrong.sort(key=lambda item: item.key)
    return report


async def _page(services: Services, after: int) -> list[MediaRow]:
    async with services.database.read() as db:
        return await media.media_page(db, after, PAGE)


async def _repair(services: Services, storer: PictureStorer, row: MediaRow, wrong: WrongObject) -> None:
    """Put an object back from one of its addresses, and note in `wrong` what came of it.

    An address that has other bytes by now leads to those; when all of them do, nothing needs the object any more.
    """
    async with services.database.read() as db:
        leading = await pictures.addresses(db, ids := await media.named_addresses(db, row.id))
    for address in (leading[address_id] for address_id in ids):
        try:
            wrong.repaired = await _fetch_again(services, storer, address) == row.key
        except (PermanentError, TransientError, StoreDeclines) as error:
            wrong.reason = str(error)
        if wrong.repaired:
            wrong.reason = None
            return
    if wrong.reason is None:
        wrong.forgotten = await _remove(services, [row.key], 0.0) == 1
        wrong.reason = None if wrong.forgotten else "an address leads to it again: look once more"


async def _fetch_again(services: Services, storer: PictureStorer, address: Address) -> str:
    """Fetch, store and record what is behind an address; returns its key."""
    while True:
        got = await _download(services, address)
        async with storer.stored(got, while_storing=nullcontext()) as removals:
            picture = stored_picture(address.id, got, removals)
            if await services.database.transact(lambda db, picture=picture: commit_repair(db, picture)):  # type: ignore[misc]
                return got.key


async def _download(services: Services, address: Address) -> DownloadedPicture:
    """As a job would: with its attempts and pauses."""
    attempts = 0
    while True:
        try:
            got = await fetch_picture(services, address, conditional=False)
        except NoPlace as error:
            await asyncio.sleep(error.wait_s)
        except TransientError as error:
            attempts += 1
            wait_s = retry_wait_s(services.settings, attempts, error.retry_after_s)
            if attempts >= services.settings.job_max_attempts or wait_s is None:
                raise
            await asyncio.sleep(wait_s)
        else:
            if isinstance(got, NotModified):
                raise TransientError("the origin says that nothing changed, though it was not asked that")
            return got


async def find_orphans(services: Services, *, older_than_s: float, delete: bool = False) -> OrphanReport:
    """Find what nothing in the catalogue needs, older than `older_than_s` seconds, and remove it with `delete`.

    Addresses are as old as their last request, recorded pictures as their storing, objects as the store says.

    Raises:
        StoreUnavailable, DatabaseUnavailable: a part is away; what was removed stays so, the rest is found next time.
    """
    report = OrphanReport()
    if delete:
        await services.database.transact(audit.note_begun)
        report.addresses = await _forget_addresses(services, older_than_s)
        audit.mention(None, addresses=report.addresses, removed=0)
    async with services.database.read() as db:
        report.addresses += await media.count_unnamed_addresses(db, older_than_s=older_than_s)
        report.media = await media.unnamed_media(db, older_than_s=older_than_s)
        modified_before_s = await media.now_s(db) - older_than_s
    await _find_objects(services, report, modified_before_s)
    if delete:
        candidates = sorted({*report.media, *report.objects})
        for at in range(0, len(candidates), REMOVED_AT_ONCE):
            report.deleted += await _remove(services, candidates[at : at + REMOVED_AT_ONCE], older_than_s)
            audit.mention(None, removed=report.deleted)
    return report


async def _forget_addresses(services: Services, older_than_s: float) -> int:
    forgotten = 0

    async def work(db: Connection) -> int:
        return await media.forget_addresses(db, older_than_s=older_than_s, limit=PAGE)

    while gone := await services.database.transact(work):
        forgotten += gone
    return forgotten


async def _find_objects(services: Services, report: OrphanReport, modified_before_s: float) -> None:
    batch: list[str] = []
    async for found in services.store.list_objects():
        if not is_media_key(found.key):
            report.foreign.append(found.key)
        elif found.modified_at_s <= modified_before_s:
            batch.append(found.key)
        if len(batch) >= PAGE:
            report.objects += await _without_media(services, batch)
            batch = []
    report.objects += await _without_media(services, batch)


async def _without_media(services: Services, keys: Sequence[str]) -> list[str]:
    async with services.database.read() as db:
        return await media.without_media(db, keys)


async def _remove(services: Services, keys: Sequence[str], older_than_s: float) -> int:
    """Mark, commit, delete, and only then let the bytes be stored again."""
    hashes = {key: bytes.fromhex(_sha256_of(key)) for key in keys}

    async def mark(db: Connection) -> list[str]:
        return await media.mark_removals(db, hashes, older_than_s=older_than_s)

    free = await services.database.transact(mark)
    try:
        async with asyncio.timeout(REMOVAL_LEASE_S / 2):
            await _each(free, services.store.delete)
    except TimeoutError:
        raise StoreUnavailable(f"the store did not remove {len(free)} objects in {REMOVAL_LEASE_S / 2:g} s") from None
    await services.database.transact(lambda db: _end(db, hashes, free))
    return len(free)


async def _end(db: Connection, hashes: Mapping[str, bytes], keys: Sequence[str]) -> None:
    await media.end_removals(db, sorted({hashes[key] for key in keys}))


async def _each(items: Sequence[Item], work: Callable[[Item], Awaitable[None]]) -> None:
    """`work` on every item, AT_ONCE at a time."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    async with together() as group:
        for _ in range(min(AT_ONCE, len(items))):
            group.create_task(worker())


def _sha256_of(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]
