"""What image jobs need to know of their addresses, looked up for all that were claimed together.

a job begins ─▶ its address was looked up a moment ago ─▶ that │ asked, and those of the jobs claimed with it

A picture that changed in that moment is seen by the commit, which holds the address, as one is that changes during the
download.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from app.jobs.definitions import IMAGE_UPLOAD, ImageJob
from app.persistence import pictures
from app.persistence.ledger import ClaimedJob
from app.persistence.pictures import Address
from app.sync.stage.batching import Batcher
from app.sync.stage.context import Stage

GOOD_FOR_S = 1.0
"""How old an answer may be; no job that was claimed ahead of a slot waits longer."""


class AddressForesight:
    """The addresses of one process's image jobs."""

    def __init__(self, stage: Stage) -> None:
        self._database, self._expected = stage.services.database, stage.expected
        self._asked: Batcher[int, Address | None] = Batcher(self._load)
        self._seen: dict[int, tuple[float, Address | None]] = {}
        """By id: when it was looked up, and what was found. An answer is used once: who begins anew asks anew."""

    async def of(self, address_id: int) -> Address | None:
        """The address, None when there is none.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.
        """
        seen = self._seen.pop(address_id, None)
        if seen is not None and time.monotonic() - seen[0] <= GOOD_FOR_S:
            return seen[1]
        return await self._asked.ask(address_id)

    async def anew(self, address_id: int) -> Address | None:
        """The address as it is now, for one who waited until something became of it; as `of` otherwise."""
        self._seen.pop(address_id, None)
        return await self._asked.ask(address_id)

    async def _load(self, ids: Sequence[int]) -> list[Address | None]:
        named = {address_id_of(job) for job in self._expected.take() if job.queue == IMAGE_UPLOAD}
        ahead = {address_id for address_id in named - {*ids} if address_id is not None}
        async with self._database.quick() as db:
            found = await pictures.addresses(db, [*ids, *ahead])
        now = time.monotonic()
        fresh = {key: seen for key, seen in self._seen.items() if now - seen[0] <= GOOD_FOR_S}
        self._seen = fresh | {key: (now, found.get(key)) for key in ahead}
        return [found.get(address_id) for address_id in ids]


def address_id_of(job: ClaimedJob) -> int | None:
    """The address that an image job names; None for arguments that make no sense, as the job itself will say."""
    try:
        return msgspec.convert(job.args, ImageJob).address_id
    except msgspec.ValidationError:
        return None
