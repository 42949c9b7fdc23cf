"""What an image job's failure leaves behind: in the catalogue, and of a picture that its address led to before.

    failed ─▶ what its address led to is in the store? ─ yes, or it led nowhere ─▶ recorded, what was stored stays
       └─ no ─▶ no address leads to that object any more ─▶ what readers see is told ─▶ the next sync fetches it

An object that is known to be gone, and that nobody could fetch again, is no picture that is stored: it is not listed,
and is unsettled like any other that failed.
"""

from __future__ import annotations

from functools import partial

from app.errors import AskedInVain, PermanentError, PromidataSyncError
from app.metrics.work import FAILED_AGAIN
from app.persistence import media, pictures
from app.persistence.after_commit import after_commit
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob
from app.persistence.pictures import FailedPicture
from app.sync.image.foresight import address_id_of
from app.sync.image.settling import note_shown, show_pictures
from app.sync.image.storing import is_stored
from app.sync.services import Services


async def lost_object(services: Services, job: ClaimedJob) -> str | None:
    """The key of the object that a failing job's address leads to, when the store does not have it; else None.

    Raises:
        StoreUnavailable, DatabaseUnavailable: nobody knows now.
    """
    address_id = address_id_of(job)
    if address_id is None:
        return None
    async with services.database.read() as db:
        found = (await pictures.addresses(db, [address_id])).get(address_id)
    if found is None or found.key is None or await is_stored(services, found.key, found.size_bytes):
        return None
    return found.key


async def fail_picture(db: Connection, job: ClaimedJob, error: PromidataSyncError, lost: str | None) -> None:
    """Its address failed, and generations wait for it no more; nothing leads to the object `lost` any more.

    What trying again would not help (gone, forbidden, no picture) is asked for with growing pauses from then on. Where
    another job asked for this one, too, that one has left all this.
    """
    address_id = address_id_of(job)
    if address_id is None or isinstance(error, AskedInVain):
        return
    leading = [] if lost is None else await media.addresses_of(db, lost)
    before = await pictures.hold(db, sorted({address_id, *leading}), alone=lost is not None)
    if lost is not None:
        await media.lead_nowhere(db, leading, lost)
    dead = isinstance(error, PermanentError)
    again = await pictures.record_failed(db, [FailedPicture(address_id, str(error), dead)])
    after_commit(db, partial(FAILED_AGAIN.labels(job.queue).inc, again))
    shown = await show_pictures(db, {held_id: held.media_id for held_id, held in before.items()})
    await note_shown(db, shown, {job.supplier_id: job.run_id})


async def address_of(db: Connection, job: ClaimedJob) -> str | None:
    """The address of an image job, for its problem."""
    address_id = address_id_of(job)
    found = {} if address_id is None else await pictures.addresses(db, [address_id])
    return next((address.url for address in found.values()), None)
