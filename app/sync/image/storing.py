"""Putting a picture's bytes in the object store, once, however many jobs arrive with them.

    bytes ─▶ on their way or just stored by another job here? ─ wait ─▶ stored │ it failed: our turn
         └─▶ being removed? wait ─▶ recorded and there, with their size? ─▶ nothing to do │ put
       declined twice, by a store that passes its check between and lately took another ─▶ this picture's error

Who stored them says so until the commit is through, so that what is stored and not recorded yet is not put again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from app import traces
from app.errors import PictureRefused, StoreDeclines, StoreUnavailable
from app.failpoints import reach
from app.images.download import DownloadedPicture
from app.persistence import media
from app.persistence.media import KnownMedia
from app.sync.services import Services
from app.sync.stage.batching import Batcher
from app.time_limits import within

LOOK_AGAIN_S = 0.5
"""While the same bytes are being removed."""
KNOWN_LINGER_S = 0.01
"""How long the question whether bytes are known waits for others, where processors are short: a picture has its slot
for a tenth of a second there anyway."""
HEAD_WITHIN_S = 10.0
LATELY_S = 60.0
"""Seconds. A store that does not say why it declines a picture, and took another one that lately, means this one."""
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
        self._took_at = float("-inf")
        """When the store last took a picture of this process, by the monotonic clock."""

    @asynccontextmanager
    async def stored(self, got: DownloadedPicture) -> AsyncIterator[int]:
        """The bytes are in the store; gives how often they had been removed before. Commit within the block.

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
                if not declined.for_itself and time.monotonic() - self._took_at > LATELY_S:
                    raise  # perhaps it takes none
                await self._put_once_more(got)
            reach("picture:after-put")
        return known.removals

    async def _put(self, got: DownloadedPicture) -> None:
        with traces.span("put", kind="client", bytes=len(got.body), object=got.key):
            async with _answered_within(PUT_WITHIN_S):
                await self._services.store.put(got.key, got.body, got.facts.content_type)
        self._took_at = time.monotonic()

    async def _put_once_more(self, got: DownloadedPicture) -> None:
        """Tell a picture that the store does not take from a store that takes none: it would hold its slot for ever.

        Raises:
            PictureRefused: the store is well, and declines it again.
            StoreUnavailable: it is not well.
        """
        async with _answered_within(HEAD_WITHIN_S):
            await self._services.store.check()
        try:
            await self._put(got)
        except StoreDeclines as error:
            raise PictureRefused(f"not stored: {error} ({len(got.body):,} bytes)", kind="picture-not-stored") from error

    async def _known(self, hashes: Sequence[bytes]) -> list[KnownMedia]:
        async with self._services.database.quick() as db:
            return await media.known_media(db, hashes)
