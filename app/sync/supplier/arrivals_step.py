"""Documents committed as they arrive: bodies, listings, the jobs of families that are whole, counters.

outcomes ─▶ 200 documents or 2 s, the first ones sooner ─▶ fence, store, family jobs, counters: one commit ─▶ sent
                                          │ PostgreSQL is away: the same once more; nothing is fetched again
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.catalogue.file_names import SpokenFor
from app.errors import DatabaseUnavailable
from app.jobs.definitions import PRODUCT_FAMILY
from app.outages import outages
from app.persistence import documents, ledger, problems, runs
from app.persistence.database import Connection
from app.persistence.documents import FailedDocument, FetchedDocument
from app.persistence.ledger import ClaimedJob
from app.persistence.problems import Problem
from app.sync.stage.children import family_jobs
from app.sync.stage.context import Stage, messages_of
from app.sync.supplier.asked import Asked
from app.sync.supplier.documents_step import Arrival

COMMIT_DOCUMENTS = 200
COMMIT_FIRST_AFTER_S, COMMIT_EVERY_S = 0.2, 2.0
"""The first commit comes soon, so that families and pictures need not wait for the documents behind them; each wait
after it is twice as long, up to the second figure."""
COMMIT_BYTES = 16 * 1024 * 1024
"""Compressed bytes in one commit; ENGINE.md 3 bounds documents and time, this bounds memory."""
AGAIN_AFTER_S = (0.5, 1.0, 2.0, *[4.0] * 15)
"""Pauses before a commit is tried once more. After a minute the job itself waits, and what it had in hand is fetched
again: a slice must not end as hung because PostgreSQL is away."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What one supplier job fetches, on its way into the database."""

    stage: Stage
    job: ClaimedJob
    spoken_for: SpokenFor
    asked: Asked

    async def commit(self, outcomes: asyncio.Queue[Arrival | None]) -> None:
        """Commit what arrives, until None does.

        Raises:
            ClaimLost, RunCancelled: the job is not ours any more; what was committed stays.
            DatabaseUnavailable: PostgreSQL has been away for long.
        """
        more, within_s = True, COMMIT_FIRST_AFTER_S
        while more:
            batch: list[Arrival] = []
            more = await _collect(outcomes, batch, within_s)
            if batch:
                await self._through_outage(batch)
                within_s = min(2 * within_s, COMMIT_EVERY_S)

    async def _through_outage(self, batch: Sequence[Arrival]) -> None:
        again = False
        with outages.waited_out(f"documents of {self.job.id}") as met:
            for pause_s in AGAIN_AFTER_S:
                try:
                    return await self._commit(batch, again=again)
                except DatabaseUnavailable as error:
                    met(error)
                again = True
                await asyncio.sleep(pause_s)
            return await self._commit(batch, again=True)

    async def _commit(self, batch: Sequence[Arrival], *, again: bool) -> None:
        """Commit a batch; `again` where that was tried before, and its answer may be what was lost."""
        job = self.job
        fetched = sorted((item for item in batch if isinstance(item, FetchedDocument)), key=lambda item: item.id)
        failed = sorted((item for item in batch if isinstance(item, FailedDocument)), key=lambda item: item.id)

        async def work(db: Connection) -> list[str]:
            await (ledger.checkpoint if fetched else ledger.fence)(db, job)
            if again and await documents.was_committed(db, job.run_id, batch[0]):
                return []
            versions = await documents.store_fetched(db, job.run_id, fetched)
            await documents.note_failed(db, job.run_id, failed)
            await problems.add_problems(db, job.run_id, [_problem(item, job) for item in failed])
            counts = Counter(documents_fetched=len(fetched), documents_failed=len(failed))
            ready = await documents.of_these_speaking(db, self._ready(fetched))
            new = family_jobs(job, [(item.family_sku, versions[item.id]) for item in ready])
            return await runs.book_with_jobs(db, job.owner, counts, new, counted="families_total")

        added = await self.stage.services.database.transact(work)
        self.stage.progress.note_checkpoint(job)  # what failed is not asked for again in this run: progress, too
        await self.stage.dispatch(messages_of(PRODUCT_FAMILY, job.run_id, added))

    def _ready(self, fetched: Sequence[FetchedDocument]) -> list[FetchedDocument]:
        """Those whose families need not wait for other documents of the manifest, of those that are meant."""
        return [
            item
            for item in fetched
            if item.has_children
            and self.spoken_for.certainly_by(item.file_name, item.family_sku)
            and self.asked.means(item.file_name, item.family_sku)
        ]


async def _collect(outcomes: asyncio.Queue[Arrival | None], batch: list[Arrival], within_s: float) -> bool:
    """Fill a batch; False when nothing comes any more."""
    size = 0
    try:
        async with asyncio.timeout(within_s) as timeout:
            while len(batch) < COMMIT_DOCUMENTS and size < COMMIT_BYTES:
                outcome = await outcomes.get()
                if outcome is None:
                    timeout.reschedule(None)
                    return False
                batch.append(outcome)
                size += len(outcome.body) if isinstance(outcome, FetchedDocument) else 0
    except TimeoutError:
        return True
    return True


def _problem(item: FailedDocument, job: ClaimedJob) -> Problem:
    return Problem("error", "supplier", item.kind, item.reason, url=item.url, job_id=job.id)
