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
from app.sync.running.slots import Running, Slots
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


class Bell:
    """Wakes loops that look for something to do."""

    def __init__(self) -> None:
        self.rung = 0
        """How often: whoever looked before the last time has to look again."""
        self._more = asyncio.Event()

    def ring(self) -> None:
        """There may be something to do."""
        self.rung += 1
        self._more.set()
        self._more = asyncio.Event()

    async def wait(self, seen: int, timeout_s: float) -> None:
        """Until it was rung once more than `seen` times, or for so long."""
        if self.rung == seen:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._more.wait()


class InlineQueue:
    """Stands where Redis is otherwise: only says that there may be something to do."""

    def __init__(self) -> None:
        self.bell = Bell()

    async def send(self, messages: Sequence[Message]) -> None:
        """Wake the loops; the ledger has the jobs."""
        del messages
        self.bell.ring()


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
        queue = InlineQueue()
        self._work, self._ended = queue.bell, Bell()
        self._stage = Stage(services, queue, ProgressBoard(services.database))
        self._handlers = handlers(self._stage)
        self._policies = policies(services.settings)
        self._slots: dict[QueueName, Slots] = {}

    async def to_its_end(self) -> None:
        """Work until the run is over; whoever started it holds its lease meanwhile."""
        async with together() as group:
            background = [
                group.create_task(self._stage.progress.run()),
                group.create_task(number_changes(self._services.database)),
                group.create_task(self._drop_lost()),
                *[group.create_task(self._work_off(name)) for name in QUEUES],
            ]
            seen = self._ended.rung
            while not await self._is_over():
                await self._ended.wait(seen, LOOK_EVERY_S)
                seen = self._ended.rung
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
                seen = self._held()
                async with self._services.database.quick() as db:
                    lost = await ledger.lost(db, seen)
                    unheld = await ledger.active_unheld(db, self._run_id, [job.id for job in self._held()])
                for slots in self._slots.values():
                    slots.lose(lost, seen)
                if unheld:
                    await end_cancelled(self._stage, unheld)  # no others' than a cancelled run's
            except DatabaseUnavailable as error:
                outages.noted(error, "not looked for what was cancelled")

    def _held(self) -> list[ClaimedJob]:
        return [job for slots in self._slots.values() for job in slots.jobs]

    async def _work_off(self, name: QueueName) -> None:
        """Work the run's jobs of one queue off, as a worker would."""
        async with together() as group:
            slots = Slots(
                self._policies[name].slots, partial(self._run, name), self._work.ring, spawn=group.create_task
            )
            self._slots[name] = slots
            try:
                while True:
                    seen = self._work.rung
                    for job in await self._claim(name, slots.room()):
                        slots.add(job)
                    await self._work.wait(seen, LOOK_EVERY_S)
            finally:
                slots.take_unstarted()  # a group that ends takes no task: what waits for a slot ends with the run

    async def _claim(self, name: QueueName, room: int) -> list[ClaimedJob]:
        if room <= 0:
            return []
        try:
            async with self._services.database.quick() as db:
                claimed = await ledger.claim_of_run(db, self._run_id, name, room, self._slots[name].ids)
        except DatabaseUnavailable as error:
            outages.noted(error, "a direct sync waits")
            return []
        self._stage.expected.note(claimed)
        return claimed

    async def _run(self, name: QueueName, running: Running) -> None:
        job, handler, slots = running.job, self._handlers[name], self._slots[name]
        try:
            if running.lost:
                await self._close(job.id)
                return
            await work_off(
                self._stage,
                job,
                self._policies[name],
                lambda claimed: handler(claimed, lambda: slots.give_back(running)),
            )
        except asyncio.CancelledError:
            if not running.lost:
                raise
            await self._close(job.id)
        except Exception:
            slots.take_unstarted()  # as above: the group ends with this
            raise
        finally:
            self._ended.ring()

    async def _close(self, job_id: str) -> None:
        try:
            await end_cancelled(self._stage, [job_id])
        except DatabaseUnavailable as error:
            outages.noted(error, "a cancelled job is closed by the next look")
