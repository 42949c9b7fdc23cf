"""The worker: takes jobs of one queue from Redis, claims them in the ledger, runs them in slots, hands their ends back.

    exchange.py: leased and claimed ─▶ slots.py: a task each ─▶ work_off ─▶ ended ─▶ the next exchange

Redis's lease only avoids double work: what a job may write is decided by its claim (ENGINE.md 1).

ARQ's own worker is not used: it polls, takes one job a round trip, and holds a dead worker's job until its time-out
(docs/decisions/0002). This one keeps to ARQ's keys, so that both can work on one queue.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from structlog import get_logger

from app.coordination.heartbeats import Beats
from app.errors import DatabaseUnavailable, OutageError, QueueUnavailable
from app.failpoints import reach
from app.jobs.definitions import QueueName, QueuePolicy
from app.jobs.queue import RedisQueue
from app.persistence import ledger
from app.persistence.ledger import ClaimedJob
from app.sync.running.every import every
from app.sync.running.handlers import Handler, handlers
from app.sync.running.outcomes import Ended, give_up, work_off
from app.sync.running.slots import READY_S, Running, Slots
from app.sync.services import Services
from app.sync.stage.context import Stage
from app.sync.stage.progress import ProgressBoard
from app.sync.stage.tasks import end_all
from app.sync.upkeep.chores import do_chores
from workers import aside
from workers.aside import Aside
from workers.exchange import Exchange
from workers.heart import STUCK_AFTER_S, Heart
from workers.memory import LOOK_EVERY_S, IdleMemory

log = get_logger()

LOOK_AT_CLAIMS_EVERY_S = 3.0
HAND_BACK_S = 2.0
"""Kept of the grace period for handing back what did not finish."""


class Worker:
    """One process's worker of one queue. A random identity a start: host names and pids come back, this does not."""

    def __init__(
        self,
        services: Services,
        queue: RedisQueue,
        redis_url: str,
        name: QueueName,
        policy: QueuePolicy,
        *,
        handler: Handler | None = None,
    ) -> None:
        """Prepare it; `handler` stands in for the queue's own work, so that the queue itself can be measured."""
        self.id = uuid4().hex
        self._services, self._queue, self._name, self._policy = services, queue, name, policy
        self._lease_ms = round(services.settings.lease_s * 1000)
        self._stage = Stage(services, queue, ProgressBoard(services.database))
        self._handler = handler or handlers(self._stage)[name]
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._slots = Slots(policy.slots, self._run_job, self._look_again)
        self._memory = IdleMemory(lambda: not self._slots.ids)
        self._aside = Aside(
            services,
            queue,
            name,
            self.id,
            hand_back=self._leave_all_to_others,
            note_wait=self._note_wait,
            came_back=self._look_again,
        )
        self._exchange = Exchange(
            self._stage, queue, name, self.id, self._slots, lease_ms=self._lease_ms, takes_no_more=self._takes_no_more
        )
        self._loop = asyncio.get_running_loop()
        self._heart = Heart(
            redis_url,
            queue.keys,
            name,
            self.id,
            held=lambda: self._slots.ids,
            beats=Beats(self.id, name, concurrency=policy.slots, active=lambda: self._slots.busy),
            on_lost=self._lost_from_thread,
            loop=self._loop,
            lease_s=services.settings.lease_s,
            stuck_after_s=policy.timeout_s + STUCK_AFTER_S,
        )

    def ask_to_stop(self) -> None:
        """Take no new job and finish; asked again, hand back at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()
        self._exchange.look()

    def complaint(self) -> str | None:
        """What keeps it from working, for its probe; None when nothing does."""
        return self._heart.complaint() or self._exchange.complaint()

    async def run(self) -> None:
        """Work until asked to stop, then drain."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(signum, self.ask_to_stop)
        self._heart.start()
        background = [
            asyncio.create_task(self._exchange.listen()),
            asyncio.create_task(do_chores(self._stage, self._queue, self._name, lease_ms=self._lease_ms)),
            asyncio.create_task(every(LOOK_AT_CLAIMS_EVERY_S, self._look_at_claims)),
            asyncio.create_task(every(LOOK_EVERY_S, self._memory.look)),
            asyncio.create_task(every(aside.LOOK_EVERY_S, self._aside.look)),
            asyncio.create_task(self._exchange.run()),
        ]
        log.info("worker ready", queue=self._name, slots=self._policy.slots, worker=self.id)
        try:
            await self._until_stopped(background)
            await self._drain()
        finally:
            await end_all(background)
            await asyncio.to_thread(self._heart.stop)
            with suppress(QueueUnavailable):
                await self._queue.let_go()
        log.info("worker stopped", queue=self._name, worker=self.id)

    async def _until_stopped(self, background: list[asyncio.Task[None]]) -> None:
        """Until asked to stop; a part that ended by itself ends the worker, so that it never only looks alive."""
        stop = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait([stop, *background], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        for task in done - {stop}:
            task.result()
            raise RuntimeError("a part of the worker ended by itself")

    def _look_again(self) -> None:
        self._exchange.look()

    def _takes_no_more(self) -> bool:
        return self._stop.is_set() or self._aside.stands()

    async def _run_job(self, running: Running) -> None:
        job = running.job
        ended: Ended | None = None
        try:
            ended = await self._give_up(job) if running.lost else await self._work_off(running)
        except asyncio.CancelledError:
            if not running.lost:
                raise
            ended = await self._give_up(job)
        except Exception:
            log.exception("a bug in settling a job; its lease runs out", job=job.id)
        finally:
            self._slots.give_back(running)
            self._memory.worked()
            if self._slots.remove(running):
                self._exchange.over([ended] if ended is not None else [])

    async def _work_off(self, running: Running) -> Ended | None:
        return await work_off(
            self._stage,
            running.job,
            self._policy,
            lambda claimed: self._work(claimed, lambda: self._slots.give_back(running)),
            stopping=self._stop.is_set,
        )

    async def _work(self, job: ClaimedJob, free_slot: Callable[[], None]) -> None:
        reach(f"start.{job.args.get('family_sku', job.id)}")
        await self._handler(job, free_slot)

    async def _give_up(self, job: ClaimedJob) -> Ended | None:
        try:
            return await give_up(self._stage, job)
        except DatabaseUnavailable as error:
            log.warning("the reconciler closes what was cancelled", job=job.id, error=str(error))
            return None

    async def _look_at_claims(self) -> None:
        """Stop jobs whose claim is gone: their run is being cancelled, or another worker has them.

        And let others have what was claimed ahead and has waited for a slot for too long.
        """
        waited = self._slots.take_unstarted(READY_S)
        if waited:
            await self._exchange.leave_to_others(waited)
        jobs = self._slots.jobs
        if not jobs:
            return
        async with self._services.database.quick() as db:
            gone = await ledger.lost(db, jobs)
        self._slots.lose(gone, jobs)

    def _lost_from_thread(self, ids: list[str]) -> None:
        self._loop.call_soon_threadsafe(self._slots.lose, ids, self._slots.jobs)

    async def _drain(self) -> None:
        """Let running jobs finish within the grace period, and hand back the rest unspent."""
        drain_s = max(0.0, self._services.settings.shutdown_grace_s - HAND_BACK_S)
        log.info("draining", queue=self._name, jobs=len(self._slots.ids))
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._exchange.take_no_more()
                unstarted = self._slots.take_unstarted()
                if unstarted:
                    await self._hand_back(unstarted)
                await self._until_idle()
        await self._hand_back_all()

    async def _until_idle(self) -> None:
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            while self._slots.tasks and not self._hurry.is_set():
                await asyncio.wait([hurry, *self._slots.tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()

    async def _note_wait(self, why: str) -> None:
        jobs = self._slots.jobs
        if jobs:
            async with self._services.database.quick() as db:
                await ledger.note_wait(db, jobs, why)

    async def _leave_all_to_others(self) -> None:
        """Unless it is on its way out, which hands back by itself."""
        if self._stop.is_set() or self._slots.is_idle():
            return
        log.warning("leaves its jobs to others", queue=self._name, jobs=len(self._slots.ids))
        await self._exchange.take_no_more()
        await self._hand_back_all()

    async def _hand_back_all(self) -> None:
        """End what runs, and give back all that is held; where PostgreSQL is away the leases run out by themselves."""
        unstarted = self._slots.take_unstarted()  # first: a slot that comes free would begin it
        tasks, left = self._slots.tasks, self._slots.jobs
        await end_all(tasks)
        await self._hand_back([*unstarted, *left])

    async def _hand_back(self, jobs: list[ClaimedJob]) -> None:
        try:
            async with asyncio.timeout(HAND_BACK_S):
                if jobs:
                    await self._exchange.leave_to_others(jobs)
                await self._exchange.round()
        except (OutageError, TimeoutError) as error:
            log.warning("not handed back; the leases run out by themselves", error=str(error))
