"""How far running jobs are: noted in memory at once, written to the ledger together, twice a second.

Also what bounds them: a job's time runs from one checkpoint to the next, and anew when a host that it waits for may be
asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from structlog import get_logger

from app.errors import DatabaseUnavailable
from app.outages import outages
from app.persistence import ledger
from app.persistence.database import Database
from app.persistence.ledger import ClaimedJob

log = get_logger()

FLUSH_EVERY_S = 0.5
SUPPLIER_STEPS = {
    "parsing_import": 10,
    "fetching_variants": 30,
    "grouping_families": 50,
    "checking_hashes": 60,
    "enqueuing_families": 70,
}
FAMILY_STEPS = {"upserting_product": 30, "upserting_variants": 70}


@dataclass(slots=True)
class Slice:
    """A job's time until it has to have reached a checkpoint."""

    limit: asyncio.Timeout
    timeout_s: float
    reached_checkpoint: bool = False


class ProgressBoard:
    """The latest step of each running job of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._steps: dict[str, tuple[ClaimedJob, str, int]] = {}
        self._slices: dict[str, Slice] = {}

    def note(self, job: ClaimedJob, step: str) -> None:
        """Note a job's step; the percentage follows from the step (API.md, "Jobs and queues")."""
        percentage = SUPPLIER_STEPS.get(step) or FAMILY_STEPS[step]
        self._steps[job.id] = (job, step, percentage)

    @contextmanager
    def slice(self, job: ClaimedJob, limit: asyncio.Timeout, timeout_s: float) -> Iterator[Slice]:
        """A job's time, from its beginning or after a checkpoint, which `limit` ends after `timeout_s`."""
        self._slices[job.id] = now = Slice(limit, timeout_s)
        try:
            yield now
        finally:
            if self._slices.get(job.id) is now:  # an older claim's task may end after the newer one's began
                del self._slices[job.id]

    def note_checkpoint(self, job: ClaimedJob) -> None:
        """The job committed a part of its work, which it will not do again."""
        if (now := self._slices.get(job.id)) is not None:
            now.reached_checkpoint = True

    def note_wait(self, job: ClaimedJob, wait_s: float) -> None:
        """The job waits until it may ask for more, which is no standing still: its time begins anew after that."""
        now = self._slices.get(job.id)
        if now is not None and not now.limit.expired():
            until = asyncio.get_running_loop().time() + wait_s + now.timeout_s
            now.limit.reschedule(max(until, now.limit.when() or 0.0))

    async def flush(self) -> None:
        """Write what was noted since the last time, in one statement."""
        steps, self._steps = list(self._steps.values()), {}
        if not steps:
            return
        try:
            async with self._database.quick() as db:
                await ledger.write_progress(db, steps)
        except DatabaseUnavailable as error:
            outages.noted(error, "progress not written")

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self.flush()
