"""Random orders of everything that happens to jobs, on the real ledger and the real dispatch (ENGINE.md 8).

Two workers without a heartbeat share a queue with leases of 40 ms, so that claims are lost all the time; Redis is
emptied, loses keys, is told too late or never. Whatever the order: every job ends in one final state, takes effect
once, the counters are those of the jobs, and each run ends once.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import ClaimLost, PermanentError, RunCancelled, TransientError
from app.jobs.definitions import PRODUCT_FAMILY, FamilyJob, policies
from app.jobs.messages import Message
from app.persistence import job_verbs, ledger, runs
from app.persistence.job_lists import count_jobs
from app.persistence.ledger import ClaimedJob, NewJob
from app.settings import Settings
from app.sync.operating.by_hand import NEWEST
from app.sync.running.outcomes import Ended, end_cancelled, give_up, spend_attempt
from app.sync.services import open_services
from app.sync.stage.context import Stage
from app.sync.stage.progress import ProgressBoard
from app.sync.upkeep.reconcile import reconcile
from tests.support.databases import fresh_database
from tests.support.stack import Servers

LEASE_MS = 40
OVER_WITHIN_S = 30.0
WORKERS = 2
ONE = {"queue": PRODUCT_FAMILY}
HOWS = ("complete", "fail", "delay", "hand back")
FINAL = {"completed", "failed", "cancelled"}
numbers = itertools.count(1)


class Ground:
    """One database and one Redis for all examples; each example has runs of its own."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.stage: Stage = self.runner.run(self._open(servers, folder))

    async def _open(self, servers: Servers, folder: Path) -> Stage:
        url = await self._stack.enter_async_context(fresh_database(servers.postgres.url))
        built = Settings.model_validate(
            {"database_url": url, "redis_url": servers.valkey.url, "data_dir": folder, "retry_backoff_s": 0.01}
        )
        services = await self._stack.enter_async_context(open_services(built))
        assert services.queue is not None
        return Stage(services, services.queue, ProgressBoard(services.database))

    def close(self) -> None:
        self.runner.run(self._stack.aclose())
        self.runner.close()


class Jobs(RuleBasedStateMachine):
    """What callers, workers, operators and accidents do, in any order."""

    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self.stage = self.ground.stage
        queue = self.stage.services.queue
        assert queue is not None
        self.queue = queue
        self.policy = policies(self.stage.services.settings)[PRODUCT_FAMILY]
        self.held: list[list[ClaimedJob]] = [[] for _ in range(WORKERS)]
        self.untold: list[list[Ended]] = [[] for _ in range(WORKERS)]
        self.runs: list[str] = []
        self.ends: dict[str, Any] = {}
        self.newest: dict[str, Any] = {}
        """Job id to the claim that was given last: every other one is void."""

    def do(self, work: Any) -> Any:
        return self.ground.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.do(self.queue.redis.flushdb())
        self.start_run(4)
        self.take(0, 2, dies=False)

    # callers

    @precondition(lambda self: len(self.runs) < 3)
    @rule(count=st.integers(1, 4))
    def start_run(self, count: int) -> None:
        self.runs.append(self.do(self._start(count)))

    @rule(run=st.integers(0, 2), count=st.integers(1, 3), told=st.sampled_from([True, True, False]))
    def add_jobs(self, run: int, count: int, told: bool) -> None:
        """A stage commits jobs to a run that is under way; it may die before it tells Redis."""
        if run < len(self.runs):
            self.do(self._add(self.runs[run], count, told))

    async def _start(self, count: int) -> str:
        number = next(numbers)

        async def work(db: AsyncConnection) -> str:
            supplier = await db.scalar(
                text("INSERT INTO suppliers (document_id, code, name) VALUES (:code, :code, :code) RETURNING id"),
                {"code": f"S{number}"},
            )
            started = await runs.start_run(
                db,
                run_id=str(uuid4()),
                supplier_id=supplier,
                job_id=f"family-{number}",
                mode="queued",
                trigger="api",
                options=ledger.RunOptions(),
            )
            first = NewJob(f"family-{number}", PRODUCT_FAMILY, "first", _args("first"))
            await ledger.add_jobs(db, [first], run_id=started.run_id, supplier_id=supplier, direct=False)
            return started.run_id

        run_id: str = await self.stage.services.database.transact(work)
        await self._add(run_id, count, told=True)
        return run_id

    async def _add(self, run_id: str, count: int, told: bool) -> None:
        async def work(db: AsyncConnection) -> list[str]:
            run = (
                await db.execute(
                    text("SELECT supplier_id, finished_at FROM runs WHERE id = CAST(:id AS uuid) FOR UPDATE"),
                    {"id": run_id},
                )
            ).one()
            if run.finished_at is not None:
                return []
            keys = [f"k{next(numbers)}" for _ in range(count)]
            new = [NewJob(ledger.new_job_id(PRODUCT_FAMILY), PRODUCT_FAMILY, key, _args(key)) for key in keys]
            added = await ledger.add_jobs(db, new, run_id=run_id, supplier_id=run.supplier_id, direct=False)
            await runs.book(db, run_id, Counter(families_total=len(added)), added=len(added))
            return added

        try:
            added = await self.stage.services.database.transact(work)
        except RunCancelled:
            return
        if told:
            await self.queue.send([Message(job_id, PRODUCT_FAMILY, run_id) for job_id in added])

    # workers

    @rule(worker=st.integers(0, WORKERS - 1), room=st.integers(1, 3), dies=st.sampled_from([False, False, False, True]))
    def take(self, worker: int, room: int, dies: bool) -> None:
        """A worker tells Redis what ended and takes jobs; it may die between Redis and the claim."""
        self.do(self._take(worker, room, dies))

    async def _take(self, worker: int, room: int, dies: bool) -> None:
        ended, self.untold[worker] = self.untold[worker], []
        got = await self.queue.exchange(
            PRODUCT_FAMILY,
            f"worker-{worker}",
            lease_ms=LEASE_MS,
            room=room,
            done=[end.job_id for end in ended if end.wait_ms is None],
            again=[(end.job_id, end.wait_ms) for end in ended if end.wait_ms is not None],
        )
        if dies or not got.ids:
            return
        async with self.stage.services.database.quick() as db:
            claimed, unclaimed = await ledger.claim(db, got.ids, queue=PRODUCT_FAMILY)
        self.held[worker] += claimed
        self.newest |= {job.id: job.claim for job in claimed}
        self.untold[worker] += [Ended(one.id, None if one.closed else 0) for one in unclaimed]
        if closed := [one.id for one in unclaimed if one.closed]:
            await end_cancelled(self.stage, closed)

    # no precondition on what is held: that depends on the servers' clocks, and Hypothesis draws by preconditions
    @rule(worker=st.integers(0, WORKERS - 1), how=st.sampled_from(HOWS))
    def end_one(self, worker: int, how: str) -> None:
        if self.held[worker]:
            ended = self.do(self._end_fenced(self.held[worker].pop(0), how))
            self.untold[worker] += [ended] if ended is not None else []

    async def _end_fenced(self, job: ClaimedJob, how: str) -> Ended | None:
        """Whoever has a void claim moves nothing."""
        before = await self._row(job)
        ended = await self._end_one(job, how)
        after = await self._row(job)
        if self.newest[job.id] != job.claim and after[0] != "cancelled":
            assert after == before
        return ended

    async def _row(self, job: ClaimedJob) -> tuple[Any, ...]:
        async with self.stage.services.database.read() as db:
            row = await db.execute(
                text("SELECT state, claim, attempts, deaths, finished_at FROM jobs WHERE id = :id"), {"id": job.id}
            )
            return tuple(row.one())

    async def _end_one(self, job: ClaimedJob, how: str) -> Ended | None:
        if how == "fail":
            return await spend_attempt(self.stage, job, self.policy, PermanentError("broken"))
        if how == "delay":
            return await spend_attempt(self.stage, job, self.policy, TransientError("away"))
        if how == "hand back":
            async with self.stage.services.database.quick() as db:
                return Ended(job.id, 0) if await ledger.hand_back(db, [job]) else await give_up(self.stage, job)
        return await self._complete(job)

    async def _complete(self, job: ClaimedJob) -> Ended | None:
        async def work(db: AsyncConnection) -> None:
            await ledger.complete_one(db, job)
            await runs.book(db, job.run_id, Counter(families_completed=1), finished=1)

        try:
            await self.stage.services.database.transact(work)
        except ClaimLost:
            return await give_up(self.stage, job)
        return Ended(job.id)

    # accidents, operators, time

    @rule(worker=st.integers(0, WORKERS - 1))
    def crash(self, worker: int) -> None:
        self.held[worker], self.untold[worker] = [], []

    @rule(worker=st.integers(0, WORKERS - 1), how=st.sampled_from(HOWS))
    def freeze_past_the_lease(self, worker: int, how: str) -> None:
        """The other worker takes the jobs over; then this one wakes and goes on with what it held."""
        self.do(asyncio.sleep(1.5 * LEASE_MS / 1000))
        self.do(self._take((worker + 1) % WORKERS, 5, dies=False))
        self.end_one(worker, how)

    @rule()
    def flush(self) -> None:
        self.do(self.queue.redis.flushdb())

    @rule(which=st.integers(0, 50))
    def lose_a_key(self, which: int) -> None:
        keys = sorted(self.do(self.queue.redis.keys()))
        if keys:
            self.do(self.queue.redis.delete(keys[which % len(keys)]))

    @rule(run=st.integers(0, 2))
    def cancel(self, run: int) -> None:
        if run < len(self.runs):
            self.do(self.stage.services.database.transact(lambda db: runs.cancel(db, self.runs[run])))

    @rule()
    def retry_failed(self) -> None:
        async def work(db: AsyncConnection) -> None:
            page = await job_verbs.failed_page(db, PRODUCT_FAMILY, NEWEST, 100)
            await job_verbs.reopen(db, PRODUCT_FAMILY, [job.id for job in page.jobs])

        self.do(self.stage.services.database.transact(work))

    @rule(whole=st.booleans())
    def reconcile(self, whole: bool) -> None:
        self.do(self._reconcile(whole))

    async def _reconcile(self, whole: bool) -> None:
        await reconcile(self.stage, self.queue, PRODUCT_FAMILY, lease_ms=LEASE_MS, whole=whole, quiet_s=0)

    # what holds

    @invariant()
    def books_balance(self) -> None:
        self.do(self._books())

    async def _books(self) -> None:
        async with self.stage.services.database.read() as db:
            for run_id in self.runs:
                await self._balance(db, run_id)
            counted = await db.execute(text("SELECT state, count(*) FROM jobs WHERE queue = :queue GROUP BY 1"), ONE)
            told = await count_jobs(db, [PRODUCT_FAMILY])
            assert told[PRODUCT_FAMILY].states == {row[0]: row[1] for row in counted}

    async def _balance(self, db: AsyncConnection, run_id: str) -> None:
        run = (await db.execute(text("SELECT * FROM runs WHERE id = CAST(:id AS uuid)"), {"id": run_id})).one()
        rows = await db.execute(
            text("SELECT state, count(*) FROM jobs WHERE run_id = CAST(:id AS uuid) GROUP BY 1"), {"id": run_id}
        )
        states = Counter({str(row[0]): int(row[1]) for row in rows})
        assert run.open_jobs == sum(number for state, number in states.items() if state not in FINAL)
        assert run.families_completed == states["completed"]
        assert run.families_failed == states["failed"]
        assert run.families_cancelled == states["cancelled"]
        if run.finished_at is not None:
            assert self.ends.setdefault(run_id, run.finished_at) == run.finished_at
        else:
            assert run.open_jobs > 0

    def teardown(self) -> None:
        """Left alone, with two workers that live, everything comes to its end."""
        try:
            self.do(self._finish_everything())
        finally:
            self.do(self.stage.services.database.transact(_forget_runs))

    async def _finish_everything(self) -> None:
        deadline = time.monotonic() + OVER_WITHIN_S  # what died three times waits for up to three seconds
        while time.monotonic() < deadline:
            for job in [job for held in self.held for job in held]:
                await self._complete(job)
            self.held = [[] for _ in range(WORKERS)]
            if await self._all_over():
                await self._books()
                return
            await self._reconcile(whole=True)
            await asyncio.sleep(LEASE_MS / 1000)
            for worker in range(WORKERS):
                await self._take(worker, 10, dies=False)
        raise AssertionError("something is left over")

    async def _all_over(self) -> bool:
        async with self.stage.services.database.read() as db:
            return not await db.scalar(
                text("SELECT count(*) FROM runs WHERE id = ANY(CAST(:ids AS uuid[])) AND open_jobs > 0"),
                {"ids": self.runs},
            )


async def _forget_runs(db: AsyncConnection) -> None:
    await db.execute(text("DELETE FROM runs"))


def _args(key: str) -> dict[str, Any]:
    args: dict[str, Any] = msgspec.to_builtins(FamilyJob(family_sku=key, version=1))
    return args


def test_every_order_of_events_ends_each_job_and_each_run_once(servers: Servers, tmp_path: Path) -> None:
    _run(servers, tmp_path, examples=8, steps=25)


@pytest.mark.chaos
def test_many_more_orders(servers: Servers, tmp_path: Path) -> None:
    _run(servers, tmp_path, examples=80, steps=50)


def _run(servers: Servers, folder: Path, *, examples: int, steps: int) -> None:
    ground = Ground(servers, folder)

    class Here(Jobs):
        pass

    Here.ground = ground
    try:
        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        ground.close()
