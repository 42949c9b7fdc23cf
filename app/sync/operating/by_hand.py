"""What an operator may do to jobs, queues and runs. Each commits in PostgreSQL first and tells Redis afterwards."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from structlog import get_logger

from app import traces
from app.errors import Conflict, NotFound, QueueUnavailable
from app.jobs.definitions import SUPPLIER_SYNC, SupplierJob
from app.jobs.messages import Message
from app.persistence import audit, job_verbs, ledger, run_lists, runs
from app.persistence.database import Connection
from app.persistence.job_verbs import FailedJob, JobState, ReopenedJob
from app.persistence.suppliers import get_supplier
from app.states import CLOSED, OPEN
from app.sync.installation import ready_to_queue
from app.sync.operating.start import RunIds, Started, Trigger, finding_own
from app.sync.services import Services
from app.sync.stage.sending import send_committed
from app.sync.supplier.manifest_step import get_manifest

log = get_logger()

RETRIED_AT_ONCE = 1_000
NEWEST = (datetime(9999, 1, 1, tzinfo=UTC), "")


async def retry_job(services: Services, queue: str, job_id: str) -> None:
    """Make a failed job wait again, with all its attempts.

    Raises:
        NotFound: there is no such job.
        Conflict: it has not failed, or its run was cancelled, was direct, or has a successor under way; or it is
            the sync of an inactive supplier.
    """

    async def work(db: Connection) -> list[ReopenedJob]:
        _refuse_retry(job_id, queue, await _held(db, queue, job_id))
        await audit.note(db, "retryJob", job_id, queueName=queue)
        return await job_verbs.reopen(db, queue, [job_id])

    await _send(services, await services.database.transact(work))


def _refuse_retry(job_id: str, queue: str, job: JobState) -> None:
    if job.state != "failed":
        raise Conflict(f"job {job_id} is {job.state}: only a failed job can be retried")
    if job.direct:
        raise Conflict(f"job {job_id} belongs to a direct sync, which no worker continues: sync the supplier again")
    if job.run_status in {"cancelling", "cancelled"}:
        raise Conflict(f"the run of job {job_id} was cancelled: sync the supplier again")
    if queue == SUPPLIER_SYNC and not job.is_supplier_active:
        raise Conflict(f"supplier {job.supplier} is inactive: activate it to sync it")
    if queue == SUPPLIER_SYNC and job.busy:
        raise Conflict("another run of this supplier is under way: wait until it is over")


async def retry_failed(services: Services, queue: str) -> int:
    """Retry every failed job of a queue that may be retried, each once; returns how many there were.

    A thousand at a time, each thousand with its entry in the audit trail. A picture that failed in several runs is
    asked for by the newest of its jobs alone, and the others end as that one does.
    """
    after, retried, askers = NEWEST, 0, dict[int, str]()
    while True:
        page, jobs = await _retry_page(services, queue, after, askers)
        await _send(services, jobs)
        retried += len(jobs)
        audit.mention(queue, retried=retried)
        if page.last is None:
            return retried
        after, askers = page.last, _askers(page.jobs, askers)


def _askers(jobs: Sequence[FailedJob], before: Mapping[int, str]) -> dict[int, str]:
    """Which job asks for each address: the first one that comes, `before` or now."""
    return {job.address_id: job.id for job in reversed(jobs) if job.address_id is not None} | dict(before)


async def _retry_page(
    services: Services, queue: str, after: tuple[datetime, str], askers_before: Mapping[int, str]
) -> tuple[job_verbs.FailedPage, list[ReopenedJob]]:
    async def work(db: Connection) -> tuple[job_verbs.FailedPage, list[ReopenedJob]]:
        page = await job_verbs.failed_page(db, queue, after, RETRIED_AT_ONCE)
        askers = _askers(page.jobs, askers_before)
        firsts = {job.id: askers[job.address_id] for job in page.jobs if job.address_id is not None}
        behind = {job_id: first for job_id, first in firsts.items() if first != job_id}
        jobs = await job_verbs.reopen(db, queue, [job.id for job in page.jobs], behind)
        if jobs:
            await audit.note(db, "retryFailed", queue, retried=len(jobs))
        return page, jobs

    return await services.database.transact(work)


async def cancel_job(services: Services, queue: str, job_id: str) -> None:
    """Cancel an open job; cancelling a supplier's job cancels its run, since nothing else would lead to its end.

    Raises:
        NotFound: there is no such job.
        Conflict: it is over.
    """

    async def work(db: Connection) -> None:
        job = await _held(db, queue, job_id)
        if job.state not in OPEN:
            raise Conflict(f"job {job_id} is {job.state} already")
        await job_verbs.close_cancelled(db, job_id)
        if queue == SUPPLIER_SYNC:
            await runs.cancel(db, job.run_id)
        await runs.book(db, job.run_id, runs.cancelled_counts({queue: 1}), finished=1)
        await audit.note(db, "cancelJob", job_id, queueName=queue, runId=job.run_id)

    await services.database.transact(work)


async def delete_job(services: Services, queue: str, job_id: str) -> None:
    """Delete a job that is over.

    Raises:
        NotFound: there is no such job.
        Conflict: it is open.
    """

    async def work(db: Connection) -> None:
        job = await _held(db, queue, job_id)
        if job.state not in CLOSED:
            raise Conflict(f"job {job_id} is {job.state}: cancel it first")
        await job_verbs.delete_job(db, job_id)
        await audit.note(db, "deleteJob", job_id, queueName=queue, runId=job.run_id)

    await services.database.transact(work)


async def _held(db: Connection, queue: str, job_id: str) -> JobState:
    job = await job_verbs.job_state(db, queue, job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id} in {queue}")
    return job


async def pause(services: Services, queue: str) -> None:
    """Let no worker start a job of the queue; what runs goes on. It survives restarts."""
    await _set_paused(services, queue, paused=True)


async def resume(services: Services, queue: str) -> None:
    """Let workers start the queue's jobs again, at once."""
    await _set_paused(services, queue, paused=False)
    if services.queue is not None:
        try:
            await services.queue.wake(queue)
        except QueueUnavailable as error:
            log.warning("workers not woken, they will look by themselves", error=str(error))


async def _set_paused(services: Services, queue: str, *, paused: bool) -> None:
    async def work(db: Connection) -> None:
        await ledger.set_paused(db, queue, paused=paused)
        await audit.note(db, "pauseQueue" if paused else "resumeQueue", queue)

    await services.database.transact(work)


async def cancel_run(services: Services, run_id: str) -> None:
    """Cancel a run: nothing of it is started any more, and what runs is stopped at its next commit.

    Raises:
        NotFound: there is no such run.
        Conflict: it is over.
    """

    async def work(db: Connection) -> None:
        run = await _found_run(db, run_id)
        if run["status"] != "cancelling" and not await runs.cancel(db, run_id):
            raise Conflict(f"run {run_id} is over: it is {run['status']}")
        await audit.note(db, "cancelRun", run_id, supplier=run["supplier"])

    await services.database.transact(work)


async def confirm_removals(services: Services, run_id: str, *, trigger: Trigger = "api") -> Started:
    """Start a run that may remove what the guard of `run_id` held back, from that one manifest and no other.

    Raises:
        NotFound: there is no such run.
        Conflict: no guard tripped, the supplier is inactive, the manifest is another one by now, or a run of it is
            under way.
        QueueUnavailable: Redis is away; nothing was started.
        OriginUnavailable: the manifest cannot be read to compare it.
    """
    async with services.database.read() as db:
        run = await _found_run(db, run_id)
        supplier = await get_supplier(db, run["supplier_id"])
    if run["guard"] is None:
        raise Conflict(f"run {run_id} held no removals back, so there is nothing to confirm")
    if not supplier.is_active:
        raise Conflict(f"supplier {supplier.code} is inactive: activate it to confirm its removals")
    if services.queue is None:
        raise QueueUnavailable("REDIS_URL is not set, so nothing can be queued: set it")
    await ready_to_queue(services, services.queue)
    sha256 = run["guard"]["manifestSha256"]
    if (await get_manifest(services)).sha256 != sha256:
        raise Conflict("the manifest is not the same any more: sync again and look at what it would remove now")
    started = await _start_confirmed(services, run, sha256, trigger)
    await _send(services, [ReopenedJob(started.job_id, SUPPLIER_SYNC, started.run_id)])
    return started


async def _start_confirmed(services: Services, run: run_lists.RunRow, sha256: str, trigger: Trigger) -> Started:
    job_id = f"{SUPPLIER_SYNC}-{time.time_ns() // 1_000_000}-{run['supplier']}"
    options = ledger.RunOptions(confirmed_manifest=sha256)
    supplier_id: int = run["supplier_id"]
    mine = RunIds()

    async def work(db: Connection) -> Started:
        with traces.span("sync start", supplier=run["supplier"], trigger=trigger, mode="queued", job=job_id) as span:
            new = await runs.start_run(
                db,
                run_id=mine.of(run["supplier"]),
                supplier_id=supplier_id,
                job_id=job_id,
                mode="queued",
                trigger=trigger,
                options=options,
            )
            if not new.started:
                raise Conflict(f"run {new.run_id} of this supplier is under way: wait until it is over")
            if new.written_before:
                return Started(run["supplier"], new.run_id, new.job_id, started=True)
            span.note(run=new.run_id, outcome="started")
            job = ledger.NewJob(
                job_id, SUPPLIER_SYNC, run["supplier"], _supplier_args(supplier_id), traceparent=span.traceparent
            )
            await ledger.add_jobs(db, [job], run_id=new.run_id, supplier_id=supplier_id, direct=False)
            await audit.note(db, "confirmRemovals", str(run["id"]), supplier=run["supplier"], runId=new.run_id)
        return Started(run["supplier"], new.run_id, job_id, started=True)

    return await finding_own(lambda: services.database.transact(work), mine)


def _supplier_args(supplier_id: int) -> dict[str, Any]:
    args: dict[str, Any] = msgspec.to_builtins(SupplierJob(supplier_id=supplier_id))
    return args


async def _found_run(db: Connection, run_id: str) -> run_lists.RunRow:
    run = await run_lists.find_run(db, run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id}")
    return run


async def _send(services: Services, jobs: Sequence[ReopenedJob]) -> None:
    await send_committed(services.queue, [Message(job.id, job.queue, job.run_id) for job in jobs])
