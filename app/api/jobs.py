"""Jobs and queues: their state, their numbers, and what operators do to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from app.api.answer_in_time import taking_long
from app.api.auth import GuardedRoute, Operator, Viewer
from app.api.cursors import AfterTime, from_micros, to_micros
from app.api.paging import Page, PagingNeeded, page_example
from app.api.problems import ProblemError, problem_answers
from app.api.schemas import DatabaseNeeded, QueueNamed, QueueNeeded, ServicesNeeded, SupplierNamed, get_queue_name
from app.api.supplier_filter import know_supplier
from app.errors import NotFound
from app.jobs.definitions import QUEUES, QueueName
from app.persistence import job_lists
from app.persistence.database import Database
from app.persistence.job_lists import JobFilter, QueueNumbers
from app.states import JobState
from app.sync.operating import by_hand
from app.views.jobs import (
    ACTIVE,
    LISTED_JOB,
    AllQueueStats,
    Deleted,
    JobStatus,
    ListedJob,
    Paused,
    QueueStats,
    Retried,
    all_queue_stats,
    job_status,
    listed_job,
    queue_stats,
)

router = APIRouter(prefix="/api/v1/queues", tags=["jobs and queues"], route_class=GuardedRoute)

JobId = Annotated[
    str, Path(alias="jobId", description="A job's `jobId`.", examples=["supplier-sync-1730000000000-A360"])
]


async def get_queue_of_job(queue_name: QueueNamed, job_id: JobId) -> QueueName:
    """The queue that a job's path names; in one that does not exist no job is found either."""
    try:
        return await get_queue_name(queue_name)
    except NotFound as error:
        raise _not_found(str(error), queue_name, job_id) from None


QueueOfJobNeeded = Annotated[QueueName, Depends(get_queue_of_job)]


@router.get(
    "/stats",
    operation_id="getQueueStats",
    summary="How many jobs each queue has, by state",
    responses=problem_answers(),
)
async def get_queue_stats(database: DatabaseNeeded, _: Viewer) -> AllQueueStats:
    """All of one moment; jobs of direct runs are not among them."""
    return all_queue_stats(await _count(database, *QUEUES))


@router.get(
    "/{queueName}/stats",
    operation_id="getOneQueueStats",
    summary="How many jobs one queue has, by state",
    responses=problem_answers(404),
)
async def get_one_queue_stats(queue: QueueNeeded, database: DatabaseNeeded, _: Viewer) -> QueueStats:
    """Jobs of direct runs are not among them."""
    return queue_stats((await _count(database, queue))[queue])


async def _count(database: Database, *queues: str) -> dict[str, QueueNumbers]:
    async with database.quick() as db:
        return await job_lists.count_jobs(db, queues)


@router.get(
    "/{queueName}/jobs",
    operation_id="listJobs",
    summary="A queue's jobs, the newest first",
    responses={**page_example(LISTED_JOB), **problem_answers(404)},
)
async def list_jobs(
    *,
    request: Request,
    queue: QueueNeeded,
    database: DatabaseNeeded,
    _: Viewer,
    paging: PagingNeeded,
    state: Annotated[JobState | None, Query(description=f"Only jobs in this state. {ACTIVE}")] = None,
    runId: Annotated[UUID | None, Query(description="Only those of one run.")] = None,  # noqa: N803  its name
    supplier: SupplierNamed = None,
) -> Page[ListedJob]:
    """Errors are cut to 300 characters; getJobStatus shows all that is kept."""
    after = paging.after(AfterTime)
    wanted = JobFilter(queue, state, None if runId is None else str(runId), supplier)
    async with database.quick() as db:
        await know_supplier(db, supplier)
        rows = await job_lists.list_jobs(
            db, wanted, after=None if after is None else (from_micros(after.micros), after.id), limit=paging.rows
        )
    return paging.page(
        rows,
        lambda row: ListedJob(**listed_job(request.app.state.settings, row)),
        lambda row: AfterTime(to_micros(row.created_at), row.id),
    )


@router.get(
    "/{queueName}/jobs/{jobId:segment}",
    operation_id="getJobStatus",
    summary="The state, progress and result of one job",
    responses=problem_answers(404),
)
async def get_job_status(
    request: Request, queue: QueueOfJobNeeded, job_id: JobId, database: DatabaseNeeded, _: Viewer
) -> JobStatus:
    """An unknown job is a 404 whose problem document says `found: false`."""
    return await _status(request, database, queue, job_id)


async def _status(request: Request, database: Database, queue: str, job_id: str) -> JobStatus:
    async with database.quick() as db:
        row = await job_lists.find_job(db, queue, job_id)
    if row is None:
        raise _unknown(queue, job_id)
    return job_status(request.app.state.settings, row)


def _unknown(queue: str, job_id: str) -> ProblemError:
    return _not_found(f"there is no job {job_id} in {queue}", queue, job_id)


def _not_found(detail: str, queue: str, job_id: str) -> ProblemError:
    return ProblemError(404, detail, found=False, jobId=job_id, queueName=queue)


@contextmanager
def _or_unknown(queue: str, job_id: str) -> Iterator[None]:
    """Whatever is asked of an unknown job, the problem document says `found: false`."""
    try:
        yield
    except NotFound:
        raise _unknown(queue, job_id) from None


VERB = problem_answers(403, 404, 409)


@router.post(
    "/{queueName}/jobs/{jobId:segment}/retry",
    operation_id="retryJob",
    summary="Let a failed job wait again, with all its attempts",
    responses=VERB,
)
async def retry_job(
    request: Request, queue: QueueOfJobNeeded, job_id: JobId, services: ServicesNeeded, _: Operator
) -> JobStatus:
    """409 for a job that has not failed, or whose run was cancelled."""
    with _or_unknown(queue, job_id):
        await by_hand.retry_job(services, queue, job_id)
    return await _status(request, services.database, queue, job_id)


@router.post(
    "/{queueName}/jobs/{jobId:segment}/cancel",
    operation_id="cancelJob",
    summary="Cancel an open job",
    responses=VERB,
)
async def cancel_job(
    request: Request, queue: QueueOfJobNeeded, job_id: JobId, services: ServicesNeeded, _: Operator
) -> JobStatus:
    """Cancelling a supplier's job cancels its run. 409 for a job that is over."""
    with _or_unknown(queue, job_id):
        await by_hand.cancel_job(services, queue, job_id)
    return await _status(request, services.database, queue, job_id)


@router.delete(
    "/{queueName}/jobs/{jobId:segment}",
    operation_id="deleteJob",
    summary="Delete a finished job",
    responses=VERB,
)
async def delete_job(queue: QueueOfJobNeeded, job_id: JobId, services: ServicesNeeded, _: Operator) -> Deleted:
    """Its run's counters stay. 409 for a job that is open."""
    with _or_unknown(queue, job_id):
        await by_hand.delete_job(services, queue, job_id)
    return Deleted(queue_name=queue, job_id=job_id)


@router.post(
    "/{queueName}/retry-failed",
    operation_id="retryFailed",
    summary="Retry all failed jobs of a queue",
    responses=problem_answers(403, 404),
    dependencies=[Depends(taking_long)],
)
async def retry_failed(queue: QueueNeeded, services: ServicesNeeded, _: Operator) -> Retried:
    """Jobs of cancelled runs are left alone.

    A picture that failed in several runs is asked for once: one of its jobs goes first, the others end as it does.
    """
    return Retried(queue_name=queue, retried=await by_hand.retry_failed(services, queue))


@router.post(
    "/{queueName}/pause",
    operation_id="pauseQueue",
    summary="Let no worker start a job of the queue",
    responses=problem_answers(403, 404),
)
async def pause_queue(queue: QueueNeeded, services: ServicesNeeded, _: Operator) -> Paused:
    """What runs goes on; the pause survives restarts."""
    await by_hand.pause(services, queue)
    return Paused(queue_name=queue, paused=True)


@router.post(
    "/{queueName}/resume",
    operation_id="resumeQueue",
    summary="Let workers start the queue's jobs again",
    responses=problem_answers(403, 404),
)
async def resume_queue(queue: QueueNeeded, services: ServicesNeeded, _: Operator) -> Paused:
    """Idle workers are woken at once."""
    await by_hand.resume(services, queue)
    return Paused(queue_name=queue, paused=False)
