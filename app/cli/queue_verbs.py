"""Carrying out what `queue_commands` took: the functions behind the API's verbs, and what they come to in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from rich.text import Text

from app.cli.acting import act_of
from app.cli.named import know_supplier, read_runs
from app.cli.run_tables import STYLES
from app.cli.surroundings import with_services
from app.cli.telling import Teller, in_one_line, own_name, tell_json
from app.errors import NotFound
from app.jobs.definitions import STAGE_OF, SUPPLIER_SYNC
from app.persistence import job_lists
from app.persistence.job_lists import JobFilter, JobRow
from app.sync.operating import by_hand
from app.sync.operating.acting import audited
from app.sync.operating.start import Started
from app.sync.services import Services
from app.views.ids import uuid_in
from app.views.jobs import Deleted, JobStatus, ListedJob, Paused, Retried, job_status, listed_job
from app.views.runs import Run
from app.views.shapes import Out, shown_json
from app.wording import counted


def show_jobs(wanted: JobFilter, *, limit: int, as_json: bool) -> None:
    """Print the newest jobs of a queue.

    Raises:
        NotFound: there is no such run or supplier.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> list[ListedJob]:
        meant = wanted
        if wanted.run_id is not None:
            (run,) = await read_runs(services, [wanted.run_id])
            meant = msgspec.structs.replace(wanted, run_id=run.id)
        await know_supplier(services, wanted.supplier)
        async with services.database.read() as db:
            rows = await job_lists.list_jobs(db, meant, after=None, limit=limit)
        return [ListedJob(**listed_job(services.settings, row)) for row in rows]

    jobs = with_services(read)
    if as_json:
        _tell(jobs)
    elif jobs:
        teller = Teller()
        for job in jobs:
            _say_job(job, teller)
    else:
        Teller().say(f"no such jobs in {wanted.queue}; `{own_name()} stats` counts what there is")


def _say_job(job: ListedJob, teller: Teller) -> None:
    """Two lines or three: an id that is cut is none, and a table of 80 columns would cut it."""
    state = Text(job.state, style=STYLES.get(job.state, ""))
    attempts = counted(job.attempts_made, "attempt")
    took = "" if (seconds := _took_s(job)) is None else f", {seconds:.1f} s"
    teller.say(Text(f"{job.job_id}  ").append(state))
    teller.say(f"    {_moment(job.timestamp)}, {attempts}{took}, run {job.run_id}")
    if job.error:
        teller.say(f"    {in_one_line(job.error)}")


def _moment(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _took_s(job: ListedJob) -> float | None:
    if job.processed_on is None or job.finished_on is None:
        return None
    return (job.finished_on - job.processed_on) / 1000


def retry_one(job_id: str, *, as_json: bool) -> None:
    """Make a failed job wait again.

    Raises:
        NotFound: there is no such job.
        Conflict: it has not failed, or its run was cancelled, was direct, or has a successor under way.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def work(services: Services) -> JobStatus:
        queue = await _queue_of(services, job_id)
        await by_hand.retry_job(services, queue, job_id)
        return await _status(services, queue, job_id)

    job = with_services(work, act_of("retryJob", job_id))
    _tell_or_say(job, f"{job.job_id} is {job.state} again", as_json=as_json)


def retry_all(queues: Sequence[str], *, as_json: bool) -> None:
    """Make every failed job of these queues wait again.

    Raises:
        DatabaseUnavailable: it is away; what was retried before stays so.
    """

    async def retried_in(services: Services, queue: str) -> Retried:
        async with audited(services.database, services.settings, act_of("retryFailed", queue)):
            return Retried(queue_name=queue, retried=await by_hand.retry_failed(services, queue))

    async def work(services: Services) -> list[Retried]:
        return [await retried_in(services, queue) for queue in queues]

    retried = with_services(work)
    if as_json:
        _tell(retried)
        return
    for one in retried:
        Teller().say(f"{one.queue_name}: {counted(one.retried, 'failed job waits', 'failed jobs wait')} again")


def cancel(run_or_job_id: str, *, as_json: bool) -> None:
    """Cancel a run, or a job; a supplier's job takes its run with it.

    Raises:
        NotFound: there is no such run or job.
        Conflict: it is over.
        DatabaseUnavailable: it is away; says which address was tried.
    """
    run_id = uuid_in(run_or_job_id)  # a job's is no UUID
    if run_id is not None:
        run = with_services(lambda services: _cancel_run(services, run_id), act_of("cancelRun", run_id))
        end = "" if run.status == "cancelled" else "; what runs is stopped at its next commit"
        _tell_or_say(run, f"run {run.id} of {run.supplier} is {run.status}{end}", as_json=as_json)
        return
    job = with_services(lambda services: _cancel_job(services, run_or_job_id), act_of("cancelJob", run_or_job_id))
    run_too = f", and its run {job.run_id} with it" if job.queue_name == SUPPLIER_SYNC else ""
    _tell_or_say(job, f"{job.job_id} is {job.state}{run_too}", as_json=as_json)


async def _cancel_run(services: Services, run_id: str) -> Run:
    await by_hand.cancel_run(services, run_id)
    return (await read_runs(services, [run_id]))[0]


async def _cancel_job(services: Services, job_id: str) -> JobStatus:
    queue = await _queue_of(services, job_id)
    await by_hand.cancel_job(services, queue, job_id)
    return await _status(services, queue, job_id)


def confirm(run_id: str, *, as_json: bool) -> None:
    """Start a run that may remove what the guard of this one held back.

    Raises:
        NotFound: there is no such run.
        Conflict: no guard tripped, the manifest is another one by now, or a run of the supplier is under way.
        OutageError: the database or Redis is away.
        OriginUnavailable, OriginRefused: the manifest cannot be read to compare it.
    """

    async def work(services: Services) -> Started:
        (run,) = await read_runs(services, [run_id])
        return await by_hand.confirm_removals(services, run.id, trigger="cli")

    started = with_services(work, act_of("confirmRemovals", run_id))
    if as_json:
        tell_json({"supplier": started.supplier, "jobId": started.job_id, "runId": started.run_id})
    else:
        Teller().say(f"run {started.run_id} of {started.supplier} may remove what run {run_id} held back")


def delete(job_id: str, *, as_json: bool) -> None:
    """Delete a job that is over.

    Raises:
        NotFound: there is no such job.
        Conflict: it is open.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def work(services: Services) -> Deleted:
        queue = await _queue_of(services, job_id)
        await by_hand.delete_job(services, queue, job_id)
        return Deleted(queue_name=queue, job_id=job_id)

    _tell_or_say(with_services(work, act_of("deleteJob", job_id)), f"{job_id} is deleted", as_json=as_json)


def set_paused(queue: str, *, paused: bool, as_json: bool) -> None:
    """Pause or resume a queue, for all workers.

    Raises:
        DatabaseUnavailable: it is away; says which address was tried.
    """
    verb = by_hand.pause if paused else by_hand.resume
    with_services(lambda services: verb(services, queue), act_of("pauseQueue" if paused else "resumeQueue", queue))
    end = f"is paused; `{own_name()} resume {STAGE_OF[queue]}` lets its jobs start again" if paused else "goes on"
    _tell_or_say(Paused(queue_name=queue, paused=paused), f"{queue} {end}", as_json=as_json)


async def _queue_of(services: Services, job_id: str) -> str:
    async with services.database.read() as db:
        queue = await job_lists.queue_of_job(db, job_id)
    if queue is None:
        raise NotFound(f"there is no job {job_id}; `{own_name()} jobs QUEUE` lists them")
    return queue


async def _status(services: Services, queue: str, job_id: str) -> JobStatus:
    async with services.database.read() as db:
        row: JobRow | None = await job_lists.find_job(db, queue, job_id)
    if row is None:
        raise NotFound(f"job {job_id} was deleted meanwhile")
    return job_status(services.settings, row)


def _tell_or_say(answer: Out, line: str, *, as_json: bool) -> None:
    if as_json:
        tell_json(shown_json(answer))
    else:
        Teller().say(line)


def _tell(answers: Sequence[Out]) -> None:
    tell_json([shown_json(answer) for answer in answers])
