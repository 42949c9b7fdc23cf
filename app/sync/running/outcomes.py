"""The workers' door: what a stage raised decides what becomes of its job.

returned ──────────────────────────▶ done
OutageError ───────────────────────▶ waits here and tries again; no attempt is spent
TransientError, time-out, a bug ───▶ an attempt is spent: again after a pause, or failed when none is left
PermanentError ────────────────────▶ failed
ComesBack ─────────────────────────▶ delayed, and the slot is free; no attempt is spent
ClaimLost ─────────────────────────▶ another worker's business, unless it is over
RunCancelled ──────────────────────▶ cancelled
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
from structlog import get_logger

from app.errors import (
    ClaimLost,
    ComesBack,
    OutageError,
    PermanentError,
    PromidataSyncError,
    RunCancelled,
    TransientError,
)
from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, STAGE_OF, QueuePolicy
from app.metrics.registry import series
from app.metrics.work import JOB_SECONDS, JOB_WAIT_SECONDS, JobOutcome
from app.outages import outages
from app.persistence import ledger, problems, runs
from app.persistence.database import Connection
from app.persistence.ledger import MAX_DEATHS, ClaimedJob
from app.persistence.problems import Problem
from app.sync.family.stage import fail_family
from app.sync.image.failing import address_of, fail_picture, lost_object
from app.sync.running.attempts import attempt_at
from app.sync.stage.backoff import retry_wait_s
from app.sync.stage.context import Stage, plain_reason
from app.traces import Span

log = get_logger()

OUTAGE_PAUSE_S = (0.5, 1.0, 2.0, 4.0)
_numbers = itertools.count(1)
"""Of jobs begun in this process, so that each waits for a part of ours under its own name."""


class Ended(msgspec.Struct, frozen=True):
    """What Redis is to be told of a job: forget it, or look at it again in `wait_ms`."""

    job_id: str
    wait_ms: int | None = None
    outcome: JobOutcome = "lost"
    """What became of it here, as it is counted."""


class TimedOut(TransientError):
    """The job was over its time without a sign of progress."""


class Died(PermanentError):
    """The job's worker died, again and again."""


Work = Callable[[ClaimedJob], Awaitable[None]]
T = TypeVar("T")


async def work_off(
    stage: Stage, job: ClaimedJob, policy: QueuePolicy, work: Work, *, stopping: Callable[[], bool] = lambda: False
) -> Ended | None:
    """Run a claimed job until it is over for this worker, waiting out outages of our own parts.

    Returns what Redis is to be told: nothing where another worker has the job now. A time-out while the worker is
    `stopping` spends no attempt.
    """
    series(JOB_WAIT_SECONDS, job.queue).observe(max(0.0, job.waited_s))
    begun = time.perf_counter()
    ended = await _until_over(stage, job, policy, work, stopping)
    series(JOB_SECONDS, job.queue, "lost" if ended is None else ended.outcome).observe(time.perf_counter() - begun)
    return ended


async def _until_over(
    stage: Stage, job: ClaimedJob, policy: QueuePolicy, work: Work, stopping: Callable[[], bool]
) -> Ended | None:
    if job.deaths >= MAX_DEATHS:
        died = Died(f"the worker that ran it died {job.deaths} times in a row, without progress", "worker-died")
        return await through_outages(lambda: spend_attempt(stage, job, policy, died))
    return await through_outages(lambda: _attempt(stage, job, policy, work, stopping))


async def through_outages(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat `step` for as long as a part of ours is away; a job's claim is held meanwhile."""
    pauses = 0
    with outages.waited_out(f"job {next(_numbers)}") as met:
        while True:
            try:
                return await step()
            except OutageError as error:
                met(error)
            await asyncio.sleep(OUTAGE_PAUSE_S[min(pauses, len(OUTAGE_PAUSE_S) - 1)])
            pauses += 1


async def _attempt(
    stage: Stage, job: ClaimedJob, policy: QueuePolicy, work: Work, stopping: Callable[[], bool]
) -> Ended | None:
    with attempt_at(job) as (mine, span):
        try:
            ended = await _settled(stage, mine, policy, work, span, stopping=stopping)
        except OutageError:
            span.note(outcome="outage")
            raise
        span.note(outcome="lost" if ended is None else ended.outcome)
        return ended


async def _settled(
    stage: Stage, job: ClaimedJob, policy: QueuePolicy, work: Work, span: Span, *, stopping: Callable[[], bool]
) -> Ended | None:
    try:
        await _bounded(stage, job, policy, work)
    except (ClaimLost, RunCancelled):
        return await give_up(stage, job)
    except OutageError:
        raise
    except ComesBack as error:
        return await _hand_back(stage, job, str(error), error.wait_s)
    except TimedOut as error:
        return await (_hand_back(stage, job) if stopping() else _spend(stage, job, policy, error, span))
    except PromidataSyncError as error:
        return await _spend(stage, job, policy, error, span)
    except Exception as error:
        log.exception("a bug in a stage", job=job.id)
        wrapped = TransientError(f"unexpected {type(error).__name__}: {error}")
        return await _spend(stage, job, policy, wrapped, span)
    return Ended(job.id, outcome="completed")


async def _spend(
    stage: Stage, job: ClaimedJob, policy: QueuePolicy, error: PromidataSyncError, span: Span
) -> Ended | None:
    """`spend_attempt`, as span and log tell it; why is among the run's problems."""
    span.failed(error)
    ended = await spend_attempt(stage, job, policy, error)
    log.info("attempt spent", outcome="lost" if ended is None else ended.outcome, error=type(error).__name__)
    return ended


async def _bounded(stage: Stage, job: ClaimedJob, policy: QueuePolicy, work: Work) -> None:
    """Run `work` within its time; a slice that reached a checkpoint is followed by another."""
    while True:
        try:
            async with asyncio.timeout(policy.timeout_s) as timeout:
                with stage.progress.slice(job, timeout, policy.timeout_s) as now:
                    return await work(job)
        except TimeoutError:
            if not timeout.expired():
                raise
            if not now.reached_checkpoint:
                raise TimedOut(f"no progress within {policy.timeout_s:g} s") from None


async def _hand_back(stage: Stage, job: ClaimedJob, why: str | None = None, wait_s: float = 0.0) -> Ended:
    async def work(db: Connection) -> None:
        await ledger.hand_back(db, [job], why, wait_s)

    await stage.services.database.transact(work)
    return Ended(job.id, round(wait_s * 1000), "handed_back")


async def give_up(stage: Stage, job: ClaimedJob) -> Ended | None:
    """A job that is not ours any more: closed if its run is being cancelled, else whoever has it has its message too.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    await end_cancelled(stage, [job.id])
    async with stage.services.database.quick() as db:
        return Ended(job.id) if await ledger.closed_among(db, [job.id]) else None


async def spend_attempt(stage: Stage, job: ClaimedJob, policy: QueuePolicy, error: PromidataSyncError) -> Ended | None:
    """Spend the attempt: the job is delayed, or failed when it is of no use to try again."""
    wait_s = _wait_s(stage, job, policy, error)
    if wait_s is None:
        return await _end_failed(stage, job, error)
    return await _delay(stage, job, error, wait_s)


async def _end_failed(stage: Stage, job: ClaimedJob, error: PromidataSyncError) -> Ended | None:
    lost = await lost_object(stage.services, job) if job.queue == IMAGE_UPLOAD else None

    async def work(db: Connection) -> bool:
        return await _fail(db, job, error, lost)

    held = await stage.services.database.transact(work)
    return Ended(job.id, outcome="failed") if held else await give_up(stage, job)


async def _delay(stage: Stage, job: ClaimedJob, error: PromidataSyncError, wait_s: float) -> Ended | None:
    async def work(db: Connection) -> bool:
        return await ledger.delay(db, job, str(error), wait_s)

    held = await stage.services.database.transact(work)
    return Ended(job.id, round(wait_s * 1000), "delayed") if held else await give_up(stage, job)


def _wait_s(stage: Stage, job: ClaimedJob, policy: QueuePolicy, error: PromidataSyncError) -> float | None:
    if not isinstance(error, TransientError) or job.attempts + 1 >= policy.max_attempts:
        return None
    return retry_wait_s(stage.services.settings, job.attempts + 1, error.retry_after_s)


async def _fail(db: Connection, job: ClaimedJob, error: PromidataSyncError, lost: str | None) -> bool:
    if not await ledger.fail(db, job, str(error)):
        return False
    url = None
    if job.queue == PRODUCT_FAMILY:
        await fail_family(db, job)
    elif job.queue == IMAGE_UPLOAD:
        url = await address_of(db, job)
        await fail_picture(db, job, error, lost)
    else:
        await runs.set_fatal(db, job.run_id, str(error))
    await problems.add_problems(db, job.run_id, [_problem(job, error, url)])
    counts = Counter(families_failed=job.queue == PRODUCT_FAMILY, images_failed=job.queue == IMAGE_UPLOAD)
    await runs.book(db, job.run_id, counts, finished=1, last=True)
    return True


def _problem(job: ClaimedJob, error: PromidataSyncError, url: str | None) -> Problem:
    kind = error.kind if isinstance(error, PermanentError) else "attempts-spent"
    reason = plain_reason(str(error), url) if url else str(error)
    sku = job.args.get("family_sku")
    return Problem("error", STAGE_OF[job.queue], kind, reason, url=url, sku=sku, job_id=job.id)


async def end_cancelled(stage: Stage, job_ids: Sequence[str]) -> None:
    """Close jobs of runs that are being cancelled, and end those runs when these were the last."""

    async def work(db: Connection) -> None:
        ended = await ledger.end_cancelled(db, job_ids)
        await runs.book_each(
            db,
            [
                runs.Move(run_id, runs.cancelled_counts(queues), added=0, finished=sum(queues.values()))
                for run_id, queues in ended.items()
            ],
        )

    await stage.services.database.transact(work)
