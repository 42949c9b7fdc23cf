"""The image stage: one address in; a stored picture, and everything that shows the address shows it.

    retried together with another job of the address? ──────▶ that one's end is this one's (`asking_once.py`)
    address ─▶ stored already? ─────────────────────────────▶ link only
       │       named by no generation any more? ────────────▶ superseded, nothing is asked
       └─▶ GET ─▶ inspect ─▶ bytes known? ─▶ link only │ put ─▶ batch commit (`app/sync/image/settling.py`)

The bytes are in the object store before the commit, so what is recorded is there. Lookups of jobs that were claimed
together (`foresight.py`) and ends of jobs that run at the same time share their round trips. The slot is free as soon
as the picture is downloaded and judged, or at the latest when its bytes are stored (`overlap.py`): put and commit run
beside the next downloads. What a job has reached stays in hand over an outage (`in_hand.py`): the next go begins there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from app import traces
from app.errors import ClaimLost, OutageError
from app.feed.manifest import request_url
from app.images.download import DownloadedPicture, NotModified, download_picture
from app.jobs.definitions import ImageJob, read_arguments
from app.outbound import FetchLimits
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob
from app.persistence.media import StoredPicture
from app.persistence.pictures import Address
from app.settings import Settings
from app.sync.image.asking_once import let_first_end
from app.sync.image.foresight import AddressForesight
from app.sync.image.in_hand import Hands, InHand
from app.sync.image.overlap import Overlap
from app.sync.image.settling import NamedAgain, PictureEnd, Settled, commit_settled
from app.sync.image.storing import PictureStorer, is_stored
from app.sync.services import Services
from app.sync.stage.batching import Batcher
from app.sync.stage.context import Stage
from app.sync.stage.places import place_within_s

LINGER_S = 0.4
"""How long an end waits for others while pictures are under way. A commit is a dozen statements whatever its size, and
the slot is free meanwhile, so the wait costs no picture anything (docs/decisions/0042)."""


class ImageStage:
    """The image jobs of one process."""

    def __init__(self, stage: Stage) -> None:
        self._services = stage.services
        self._storer = PictureStorer(stage.services, more_coming=self._others_come_and_processors_are_short)
        self._overlap = Overlap(most=stage.services.settings.concurrency_images)
        self._hands = Hands()
        self._addresses = AddressForesight(stage)
        self._under_way = set[str]()
        self._ends: Batcher[Settled, PictureEnd] = Batcher(
            self._commit, most=200, linger_s=LINGER_S, more_coming=lambda: bool(self._under_way)
        )

    async def run(self, job: ClaimedJob, free_slot: Callable[[], None]) -> None:
        """Run an image job to its end; `free_slot` is called once the origin is not needed any more (`overlap.py`).

        Raises:
            ClaimLost: it is not ours any more; nothing was written.
            GoesAfter, NoPlace: another job asks for its address, too, or its host is not to be asked now; later.
            TransientError, PermanentError: the picture could not be had.
            StoreUnavailable, DatabaseUnavailable: an outage; to be tried again at no cost.
        """
        arguments = read_arguments(ImageJob, job.args)
        try:
            while (ending := await self._once(job, arguments, free_slot)) == "again":
                self._hands.drop(job.id)
        except OutageError:
            raise  # it comes back, to what it has in hand
        except BaseException:
            self._hands.drop(job.id)
            raise
        self._hands.drop(job.id)
        if ending == "lost":
            raise ClaimLost(f"job {job.id} is not this worker's any more")

    async def _once(self, job: ClaimedJob, arguments: ImageJob, free_slot: Callable[[], None]) -> PictureEnd:
        """One go; `again` when the object was removed, or the address named, between the look and the commit."""
        with self._coming(job) as comes:
            address = await self._address(arguments)
            got = await self._get(job, address, revalidate=arguments.revalidate and arguments.after is None)
            if address is None or got is None:
                end = _without_download(job, arguments, address)
            elif isinstance(got, NotModified):
                end = Settled(job, address.id, sha256=_sha256_of(address), confirmed=True)
            elif isinstance(got, StoredPicture):
                end = Settled(job, address.id, sha256=got.sha256.hex(), picture=got)
            else:
                storing = self._overlap.storing(len(got.body), free_slot)
                async with self._storer.stored(got, while_storing=storing) as removals:
                    picture = stored_picture(address.id, got, removals)
                    self._hands.hold(job.id, picture)
                    comes()
                    free_slot()
                    return await self._ends.ask(Settled(job, address.id, sha256=got.sha256, picture=picture))
        free_slot()
        return await self._ends.ask(end)

    async def _address(self, arguments: ImageJob) -> Address | None:
        if arguments.after is None:
            return await self._addresses.of(arguments.address_id)
        await let_first_end(self._services, arguments.after)
        return await self._addresses.anew(arguments.address_id)

    def _others_come_and_processors_are_short(self) -> bool:
        return len(self._under_way) > 1 and self._services.inspector.processors.are_short()

    @contextmanager
    def _coming(self, job: ClaimedJob) -> Iterator[Callable[[], None]]:
        """While a job is on its way to a commit; gives what is to be called when it comes there within the block."""
        self._under_way.add(job.id)
        comes = partial(self._under_way.discard, job.id)
        try:
            yield comes
        finally:
            comes()

    async def _get(self, job: ClaimedJob, address: Address | None, *, revalidate: bool) -> InHand | None:
        """What the job has in hand, or the origin has; None where it need not be asked."""
        if address is None or not address.named or (address.state == "stored" and not revalidate):
            return None
        held = self._hands.of(job.id)
        if held is not None:
            return held
        whole = address.key is not None and await is_stored(self._services, address.key, address.size_bytes)
        got = await fetch_picture(self._services, address, conditional=whole)
        self._hands.hold(job.id, got)
        return got

    async def _commit(self, batch: Sequence[Settled]) -> list[PictureEnd]:
        again: frozenset[str] = frozenset()

        async def work(db: Connection) -> list[PictureEnd]:
            return await commit_settled(db, batch, again)

        with traces.span("batch commit", batch=[item.job.traceparent for item in batch], images=len(batch)):
            while True:
                try:
                    return await self._services.database.transact(work)
                except NamedAgain as named:
                    again |= named.job_ids


async def fetch_picture(services: Services, address: Address, *, conditional: bool) -> DownloadedPicture | NotModified:
    """Download and judge what is behind an address.

    Raises:
        NoPlace: its host is not to be asked for now; the slot is others' meanwhile.
        OriginUnavailable, OriginRefused, AddressRefused, BodyTooLarge, PictureRefused: as `download_picture`.
    """
    return await download_picture(
        services.outbound,
        services.inspector,
        request_url(address.url),
        limits=picture_limits(services.settings),
        etag=address.etag if conditional else None,
        last_modified=address.last_modified if conditional else None,
        place_within_s=place_within_s(services.settings.job_timeout_image_ms),
    )


def stored_picture(address_id: int, got: DownloadedPicture, removals: int) -> StoredPicture:
    """What is recorded of a picture that is in the store."""
    return StoredPicture(
        address_id=address_id,
        sha256=bytes.fromhex(got.sha256),
        key=got.key,
        content_type=got.facts.content_type,
        width=got.facts.width,
        height=got.facts.height,
        size_bytes=len(got.body),
        etag=got.etag,
        last_modified=got.last_modified,
        removals=removals,
    )


def _without_download(job: ClaimedJob, arguments: ImageJob, address: Address | None) -> Settled:
    if address is None or not address.named:
        return Settled(job, arguments.address_id, superseded=True)
    return Settled(job, address.id, sha256=_sha256_of(address))


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
