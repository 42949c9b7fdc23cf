"""Putting a picture's bytes in the object store, once, however many jobs arrive with them.

    bytes ─▶ on their way or just stored by another job here? ─ wait ─▶ stored │ it failed: our turn
         └─▶ being removed? wait ─▶ recorded and there, with their size? ─▶ nothing to do │ put
       declined for a while, and again right after the store took a picture of ours ─▶ this picture's error

Who stored them says so until the commit is through, so that what is stored and not recorded yet is not put again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager

from app import traces
from app.errors import PictureRefused, StoreDeclines, StoreUnavailable
from app.failpoints import reach
from app.images.download import DownloadedPicture
from app.images.trial import try_store
from app.persistence import media
from app.persistence.media import KnownMedia
from app.sync.services import Services
from app.sync.stage.batching import Batcher
from app.time_limits import within

LOOK_AGAIN_S = 0.5
"""While the same bytes are being removed."""
KNOWN_LINGER_S = 0.01
"""How long the question whether bytes are known waits for others, where processors are short: most pictures have given
their slot away by then (`overlap.py`)."""
HEAD_WITHIN_S = 10.0
DECLINED_FOR_S = 60.0
"""A store that does not say why it declines a picture is given so long to take it: bytes that are changed on the way,
or a proxy that is being set up, are an outage."""
PUT_WITHIN_S = 40.0
"""With every retry of the store's client; enough for 20 MB over a slow line."""


async def is_stored(services: Services, key: str, size_bytes: int | None) -> bool:
    """Whether the object store has the object, with its size.

    Raises:
        StoreUnavailable: it does not say.
    """
    async with _answered_within(HEAD_WITHIN_S):
        found = await services.store.head(key)
    return found is not None and found.size == size_bytes


def _answered_within(seconds: float) -> AbstractAsyncContextManager[None]:
    """A store that is silent is away: that must show before the job's own time is up, which would spend an attempt."""
    return within(seconds, lambda: StoreUnavailable(f"the object store did not answer within {seconds:g} s"))


class PictureStorer:
    """The puts of one process."""

    def __init__(self, services: Services, *, more_coming: Callable[[], bool] = lambda: False) -> None:
        """Prepare it; while `more_coming` says so, questions wait for each other a little."""
        self._services = services
        self._media: Batcher[bytes, KnownMedia] = Batcher(self._known, linger_s=KNOWN_LINGER_S, more_coming=more_coming)
        self._turns: dict[str, asyncio.Future[int | None]] = {}
        """By sha256 in hex: the removals noted when the bytes were stored, or None when that failed."""
        self._declined: dict[str, tuple[float, float]] = {}
        """By sha256 in hex: since when the store does not take it, without a word on why, and when it said so last."""

    @asynccontextmanager
    async def stored(
        self, got: DownloadedPicture, *, while_storing: AbstractContextManager[None]
    ) -> AsyncIterator[int]:
        """The bytes are in the store; gives how often they had been removed before. Commit within the block.

        `while_storing` is around what asks database and store; not around a wait for another job with the same bytes.

        Raises:
            PictureRefused: the store takes others, and not these.
            StoreUnavailable, DatabaseUnavailable: they could not be stored now.
        """
        while (turn := self._turns.get(got.sha256)) is not None:
            removals = await asyncio.shield(turn)
            if removals is not None:
                yield removals
                return
        self._turns[got.sha256] = turn = asyncio.get_running_loop().create_future()
        try:
            with while_storing:
                removals = await self._store(got)
            turn.set_result(removals)
            yield removals
        finally:
            del self._turns[got.sha256]
            if not turn.done():
                turn.set_result(None)

    async def _store(self, got: DownloadedPicture) -> int:
        sha256 = bytes.fromhex(got.sha256)
        while (known := await self._media.ask(sha256)).being_removed:  # noqa: ASYNC110  another process ends it
            await asyncio.sleep(LOOK_AGAIN_S)
        if known.key is None or not await is_stored(self._services, known.key, len(got.body)):
            reach("picture:before-put")
            try:
                await self._put(got)
            except StoreDeclines as declined:
                if not declined.for_itself and self._declined_for_s(got) < DECLINED_FOR_S:
                    raise
                await self._put_once_more(got)
            reach("picture:after-put")
        self._declined.pop(got.sha256, None)
        return known.removals

    async def _put(self, got: DownloadedPicture) -> None:
        with traces.span("put", kind="client", bytes=len(got.body), object=got.key):
            async with _answered_within(PUT_WITHIN_S):
                await self._services.store.put(got.key, got.body, got.facts.content_type)

    def _declined_for_s(self, got: DownloadedPicture) -> float:
        now = time.monotonic()
        since, last = self._declined.get(got.sha256, (now, now))
        if now - last > DECLINED_FOR_S:  # it was somebody else's meanwhile
            since = now
        self._declined[got.sha256] = since, now
        return now - since

    async def _put_once_more(self, got: DownloadedPicture) -> None:
        """Tell a picture that the store does not take from a store that takes none: it would hold its slot for ever.

        Raises:
            PictureRefused: the store takes a picture of ours, and declines this one again.
            StoreUnavailable: it takes neither.
        """
        async with _answered_within(HEAD_WITHIN_S):
            await try_store(self._services.store)
        try:
            await self._put(got)
        except StoreDeclines as error:
            self._declined.pop(got.sha256, None)
            raise PictureRefused(f"not stored: {error} ({len(got.body):,} bytes)", kind="picture-not-stored") from error

    async def _known(self, hashes: Sequence[bytes]) -> list[KnownMedia]:
        async with self._services.database.quick() as db:
            return await media.known_media(db, hashes)
