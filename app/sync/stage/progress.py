"""How far running jobs are: noted in memory at once, written to the ledger together, twice a second."""

from __future__ import annotations

import asyncio

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


class ProgressBoard:
    """The latest step of each running job of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._steps: dict[str, tuple[ClaimedJob, str, int]] = {}
        self._checkpoints: set[str] = set()

    def note(self, job: ClaimedJob, step: str) -> None:
        """Note a job's step; the percentage follows from the step (API.md, "Jobs and queues")."""
        percentage = SUPPLIER_STEPS.get(step) or FAMILY_STEPS[step]
        self._steps[job.id] = (job, step, percentage)

    def begin_slice(self, job: ClaimedJob) -> None:
        """A job's time begins to run, for the first time or after a checkpoint."""
        self._checkpoints.discard(job.id)

    def note_checkpoint(self, job: ClaimedJob) -> None:
        """The job committed a part of its work, which it will not do again."""
        self._checkpoints.add(job.id)

    def reached_checkpoint(self, job: ClaimedJob) -> bool:
        """Whether it did since its slice began."""
        return job.id in self._checkpoints

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
