"""The family stage: a family's stored documents in; product, variants, changes and image jobs out.

    load documents ─▶ read (in a thread) ─▶ slot free ─▶ batch commit (`app/sync/family/settling.py`)

Families that are ready at the same time share their round trips and one transaction, in which each is fenced,
superseded, doubted and counted by itself; where a batch fails, each is tried alone (docs/decisions/0019). The slot is
free once a family is read, as long as those that wait for their commit are not too large together; while families are
small it is free at once, so that they are loaded together, too.

A document is the whole truth for its family: tiers, regions, languages, gallery and options are replaced as sets. What
an old job would write over a newer document, it does not write (`superseded`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from app import traces
from app.errors import ClaimLost
from app.jobs.definitions import FamilyJob, read_arguments
from app.persistence import documents
from app.persistence.database import Connection
from app.persistence.documents import StoredDocument
from app.persistence.ledger import ClaimedJob
from app.sync.family.deciding import FamilyReady
from app.sync.family.reading import FamilyRead, read_families
from app.sync.family.settling import FamilyEnd, Outdated, commit_families
from app.sync.stage.batching import Batcher
from app.sync.stage.context import Stage

READ_AT_ONCE = 16
WRITTEN_AT_ONCE = 32
LINGER_S = 0.1
"""How long a family waits for others while some are being read: a commit is a dozen statements whatever its size."""
SMALL_BYTES = 256_000
"""Of documents that are loaded and read beyond the slots: some tens of milliseconds of work."""
MOST_UNSETTLED_BYTES = 4_000_000
"""Of documents whose families are read and not committed yet; a family beyond that keeps its slot. Read, they take
several times as much."""
WEIGHT = 0.1
"""Of the newest family in the average of their sizes."""


class FamilyStage:
    """The family jobs of one process."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._being_read = 0
        self._unsettled_bytes = 0
        self._usual_bytes: float = SMALL_BYTES
        self._documents: Batcher[tuple[int, str], list[StoredDocument]] = Batcher(self._load, most=READ_AT_ONCE)
        self._families: Batcher[list[StoredDocument], FamilyRead | Exception] = Batcher(self._read, most=READ_AT_ONCE)
        self._ends: Batcher[FamilyReady | Outdated, FamilyEnd] = Batcher(
            self._commit, most=WRITTEN_AT_ONCE, linger_s=LINGER_S, more_coming=lambda: self._being_read > 0
        )

    async def run(self, job: ClaimedJob, free_slot: Callable[[], None]) -> None:
        """Run a family job to its end; `free_slot` is called once only the commit is left.

        Raises:
            ClaimLost, RunCancelled: it is not ours any more; nothing was written.
            DocumentUnreadable: the documents cannot be read; the family keeps its last good state.
            DatabaseUnavailable: PostgreSQL is away; to be tried again at no cost.
        """
        if (self._being_read + 1) * self._usual_bytes < SMALL_BYTES:
            free_slot()
        ready = await self._prepare(job)
        with self._unsettled(ready, free_slot):
            while True:
                ending = await self._ends.ask(ready)
                if ending == "lost":
                    raise ClaimLost(f"job {job.id} is not this worker's any more")
                if ending == "ended":
                    return

    async def _prepare(self, job: ClaimedJob) -> FamilyReady | Outdated:
        arguments = read_arguments(FamilyJob, job.args)
        self._being_read += 1
        try:
            found = await self._documents.ask((job.supplier_id, arguments.family_sku))
            speaking = [document for document in found if document.speaks and not document.is_unknown]
            if _moved_on(found, arguments.version) or not speaking or any(one.outlived for one in speaking):
                return Outdated(job)
            read = await self._families.ask(speaking)
        finally:
            self._being_read -= 1
        if isinstance(read, Exception):
            raise read
        self._stage.progress.note(job, "upserting_product")
        return FamilyReady(job, read, arguments.judged)

    @contextmanager
    def _unsettled(self, ready: FamilyReady | Outdated, free_slot: Callable[[], None]) -> Iterator[None]:
        size_bytes = ready.read.size_bytes if isinstance(ready, FamilyReady) else 0
        self._usual_bytes += WEIGHT * (size_bytes - self._usual_bytes)
        self._unsettled_bytes += size_bytes
        try:
            if self._unsettled_bytes <= MOST_UNSETTLED_BYTES:
                free_slot()
            yield
        finally:
            self._unsettled_bytes -= size_bytes

    async def _load(self, families: Sequence[tuple[int, str]]) -> list[list[StoredDocument]]:
        async with self._stage.services.database.quick() as db:
            return await documents.documents_of_families(db, families)

    async def _read(self, families: Sequence[list[StoredDocument]]) -> list[FamilyRead | Exception]:
        return await asyncio.to_thread(read_families, families, self._stage.services.settings)

    async def _commit(self, batch: Sequence[FamilyReady | Outdated]) -> list[FamilyEnd]:
        with traces.span("batch commit", batch=[item.job.traceparent for item in batch], families=len(batch)):
            committed = await self._stage.services.database.transact(lambda db: commit_families(db, self._stage, batch))
        await self._stage.dispatch(committed.messages)
        return committed.ends


def _moved_on(found: Sequence[StoredDocument], version: int) -> bool:
    return not found or max(document.version for document in found) > version


async def fail_family(db: Connection, job: ClaimedJob) -> None:
    """What a family job's failure leaves behind: its documents are fetched anew next time, even under the same hash."""
    try:
        arguments = msgspec.convert(job.args, FamilyJob)
    except msgspec.ValidationError:
        return
    await documents.forget_fetched(db, job.supplier_id, arguments.family_sku)
