"""Runs brought to where their image jobs wait, so that a test decides when each of them goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, SUPPLIER_SYNC, QueueName, policies
from app.persistence import ledger
from app.persistence.ledger import ClaimedJob
from app.sync.operating.start import StartRequest, start_runs
from app.sync.running.direct import InlineQueue
from app.sync.running.handlers import Handler, handlers
from app.sync.running.outcomes import work_off
from app.sync.stage.context import Stage as Surroundings
from app.sync.stage.progress import ProgressBoard
from tests.support.stack import Stack


class HeldRun:
    """A direct run that only does what it is told."""

    def __init__(self, stack: Stack) -> None:
        self.surroundings = Surroundings(stack.services, InlineQueue(), ProgressBoard(stack.services.database))
        self.handlers: dict[QueueName, Handler] = handlers(self.surroundings)
        self.run_id = ""
        self._in_hand: set[str] = set()
        """Claimed and not worked: nobody's lost claim."""

    async def begin(self, supplier: str = "A23", **options: Any) -> list[ClaimedJob]:
        """Start a run and bring it to its family jobs, which are claimed and given."""
        (started,) = await start_runs(self.surroundings.services, StartRequest(supplier=supplier, **options), "direct")
        self.run_id = started.run_id
        await self.work(await self.claim(SUPPLIER_SYNC))
        return await self.claim(PRODUCT_FAMILY)

    async def start(self, supplier: str = "A23", **options: Any) -> list[ClaimedJob]:
        """Start a run and bring it to its image jobs, which are claimed and given."""
        await self.work(await self.begin(supplier, **options))
        return await self.claim(IMAGE_UPLOAD)

    async def claim(self, queue: QueueName) -> list[ClaimedJob]:
        async with self.surroundings.services.database.quick() as db:
            claimed = await ledger.claim_of_run(db, self.run_id, queue, 1_000, sorted(self._in_hand))
        self._in_hand |= {job.id for job in claimed}
        return sorted(claimed, key=lambda job: int(job.args.get("address_id", 0)))

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        """Run jobs to their ends, one after the other."""
        for job in jobs:
            await self.work_one(job)

    async def work_together(self, jobs: Sequence[ClaimedJob]) -> None:
        """Run jobs to their ends, all at the same time."""
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(self.work_one(job))

    async def work_one(self, job: ClaimedJob) -> None:
        name: QueueName = job.queue  # type: ignore[assignment]
        policy = policies(self.surroundings.services.settings)[name]
        await work_off(self.surroundings, job, policy, lambda claimed: self.handlers[name](claimed, lambda: None))
        self._in_hand.discard(job.id)
