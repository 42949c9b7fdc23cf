"""Direct mode: the same stages and ledger in one process, without Redis.

    runs written ─▶ for each queue: claim this run's jobs in the ledger ─▶ work ─▶ their children wake the loops
                 └─▶ a lease in PostgreSQL, renewed every 5 s, so that a killed process does not block the supplier

A process that is stopped in order does not leave that to the lease: it ends what it has not finished.

A direct run's jobs are never dispatched; its loops find them in the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

import msgspec
from structlog import get_logger

from app.errors import DatabaseUnavailable
from app.jobs.definitions import QUEUES, QueueName, policies
from app.jobs.messages import Message
from app.outages import outages
from app.persistence import ledger, runs
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob
from app.sync.operating.start import Started, StartRequest, start_runs
from app.sync.running.abandoned import end_all_abandoned
from app.sync.running.handlers import handlers
from app.sync.running.numbering import number_all, number_changes
from app.sync.running.outcomes import end_cancelled, through_outages, work_off
from app.sync.services import Services
from app.sync.stage.context import Stage
from app.sync.stage.progress import ProgressBoard
from app.sync.stage.tasks import together

log = get_logger()

RENEW_EVERY_S = 5.0
RENEW_AGAIN_S = 1.0
"""After an outage a lease is renewed well before anybody takes it for abandoned (abandoned.py)."""
LOOK_EVERY_S = 1.0
"""How often an idle loop looks for jobs whose pause is over."""
STOP_WITHIN_S = 2.0
"""How long a process that is being stopped may take to end its runs; the leases of what it does not end run out."""

Claim = tuple[str, UUID]
"""A job, and the token of one claim of it: what was claimed anew is another."""


class DirectResult(msgspec.Struct, frozen=True):
    """What a direct sync of one supplier did."""

    supplier: str
    run_id: str
    products_processed: int
    errors: int
    skipped: int
    duration_s: float
    succeeded: bool
    """Whether the run came to its end, with errors or without."""


class InlineQueue:
    """Stands where Redis is otherwise: only says that there may be something to do."""

    def __init__(self) -> None:
        self.woken = 0
        """How often the loops were woken: whoever looked before the last time has to look again."""
        self._more = asyncio.Event()

    def wake(self) -> None:
        """There may be something to do, or room for it."""
        self.woken += 1
        self._more.set()
        self._more = asyncio.Event()

    async def send(self, messages: Sequence[Message]) -> None:
        """Wake the loops; the ledger has the jobs."""
        del messages
        self.wake()

    async def wait(self, seen: int, timeout_s: float) -> None:
        """Until the loops were woken once more than `seen` times, or for so long."""
        if self.woken == seen:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._more.wait()


async def sync_direct(
    services: Services, request: StartRequest, *, tell: Callable[[list[Started]], None] | None = None
) -> list[DirectResult]:
    """Sync in this process, one supplier after the other, and return when all is done.

    Stopped before that, by whatever, it ends its runs as failed, so that they do not hold their suppliers.

    `tell` gets the runs as soon as they are in the ledger, so that somebody can follow them there.

    Raises:
        NotFound, Invalid: as for a queued sync.
        Conflict: a supplier is inactive, or a run of it is under way.
    """
    await end_all_abandoned(services.database)
    started = await start_runs(services, request, "direct")
    if tell is not None:
        tell(started)
    run_ids = [run.run_id for run in started]
    try:
        async with together() as group:
            leases = group.create_task(_hold_leases(services, run_ids))
            results = [await _run_one(services, run) for run in started]
            leases.cancel()
    except BaseException:
        await _end_stopped(services, run_ids)
        raise
    return results


async def _end_stopped(services: Services, run_ids: Sequence[str]) -> None:
    """In a task of its own: in one that is being cancelled a transaction that has to be repeated is not."""
    ending = asyncio.create_task(_end_runs(services, run_ids))
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await ending
    except (DatabaseUnavailable, TimeoutError) as error:
        log.warning("a stopped direct sync holds its suppliers until its lease is over", error=str(error))


async def _end_runs(services: Services, run_ids: Sequence[str]) -> None:
    for run_id in run_ids:

        async def work(db: Connection, run_id: str = run_id) -> bool:
            return await runs.end_stopped(db, run_id)

        await services.database.transact(work)


async def _hold_leases(services: Services, run_ids: Sequence[str]) -> None:
    """Renew the leases of all runs until cancelled, also of those that wait for their turn."""
    while True:
        pause_s = RENEW_EVERY_S
        try:
            async with services.database.quick() as db:
                for run_id in run_ids:
                    await runs.renew_lease(db, run_id)
        except DatabaseUnavailable as error:
            outages.noted(error, "leases not renewed")
            pause_s = RENEW_AGAIN_S
        await asyncio.sleep(pause_s)


async def _run_one(services: Services, run: Started) -> DirectResult:
    await DirectRun(services, run.run_id).to_its_end()

    async def result() -> DirectResult:
        async with services.database.read() as db:
            return DirectResult(supplier=run.supplier, run_id=run.run_id, **await runs.direct_totals(db, run.run_id))

    return await through_outages(result)


class DirectRun:
    """One run, worked off in this process."""

    def __init__(self, services: Services, run_id: str) -> None:
        self._services = services
        self._run_id = run_id
        self._queue = InlineQueue()
        self._stage = Stage(services, self._queue, ProgressBoard(services.database))
        self._handlers = handlers(self._stage)
        self._policies = policies(services.settings)
        self._running: dict[str, tuple[ClaimedJob, asyncio.Task[None]]] = {}
        self._lost: set[Claim] = set()

    async def to_its_end(self) -> None:
        """Work until the run is over; whoever started it holds its lease meanwhile."""
        async with together() as group:
            background = [
                group.create_task(self._stage.progress.run()),
                group.create_task(number_changes(self._services.database)),
                group.create_task(self._drop_lost()),
                *[group.create_task(self._work_off(name)) for name in QUEUES],
            ]
            seen = self._queue.woken
            while not await self._is_over():
                await self._queue.wait(seen, LOOK_EVERY_S)
                seen = self._queue.woken
            for task in background:
                task.cancel()
        await through_outages(partial(number_all, self._services.database))  # no worker may be there to do it

    async def _is_over(self) -> bool:
        try:
            async with self._services.database.quick() as db:
                return await runs.is_over(db, self._run_id)
        except DatabaseUnavailable as error:
            outages.noted(error, "a direct sync waits")
            return False

    async def _drop_lost(self) -> None:
        """Stop jobs whose claim is gone: their run is being cancelled. And close those that nobody has in hand then."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                seen = [job for job, _ in self._running.values()]
                async with self._services.database.quick() as db:
                    lost = await ledger.lost(db, seen)
                    self._lost = {_claim_of(job) for job in seen if job.id in lost}
                    unheld = await ledger.active_unheld(db, self._run_id, list(self._running))
                if unheld:
                    await end_cancelled(self._stage, unheld)  # no others' than a cancelled run's
            except DatabaseUnavailable as error:
                outages.noted(error, "not looked for what was cancelled")
            for job, task in list(self._running.values()):
                if _claim_of(job) in self._lost:
                    task.cancel()

    async def _work_off(self, name: QueueName) -> None:
        """Work the run's jobs of one queue off, as many at a time as there are slots."""
        slots = self._policies[name].slots
        mine: set[asyncio.Task[None]] = set()
        async with together() as group:
            while True:
                seen = self._queue.woken
                room = slots - len(mine)
                for job in await self._claim(name, room) if room else []:
                    task = group.create_task(self._run(job, name))
                    self._running[job.id] = (job, task)
                    mine.add(task)
                    task.add_done_callback(partial(self._over, mine))
                await self._queue.wait(seen, LOOK_EVERY_S)

    async def _claim(self, name: QueueName, room: int) -> list[ClaimedJob]:
        try:
            async with self._services.database.quick() as db:
                claimed = await ledger.claim_of_run(db, self._run_id, name, room, list(self._running))
        except DatabaseUnavailable as error:
            outages.noted(error, "a direct sync waits")
            return []
        self._stage.expected.note(claimed)
        return claimed

    async def _run(self, job: ClaimedJob, name: QueueName) -> None:
        handler = self._handlers[name]
        try:
            await work_off(self._stage, job, self._policies[name], lambda claimed: handler(claimed, _keep_slot))
        except asyncio.CancelledError:
            if _claim_of(job) not in self._lost:
                raise
            await self._close(job.id)
        finally:
            if job.id in self._running and self._running[job.id][0] is job:  # it may have been claimed anew by now
                del self._running[job.id]

    def _over(self, mine: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        mine.discard(task)
        self._queue.wake()

    async def _close(self, job_id: str) -> None:
        try:
            await end_cancelled(self._stage, [job_id])
        except DatabaseUnavailable as error:
            outages.noted(error, "a cancelled job is closed by the next look")


def _claim_of(job: ClaimedJob) -> Claim:
    return job.id, job.claim


def _keep_slot() -> None:
    """A direct sync's slot is free when its task is done."""
