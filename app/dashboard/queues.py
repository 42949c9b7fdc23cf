"""Queues and jobs: what waits, what failed and why, and what can be done about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, get_args

from fastapi import APIRouter, Path, Request, Response
from starlette.responses import RedirectResponse

from app.api.answer_in_time import takes_long
from app.api.cursors import AfterTime, from_micros, read_cursor, to_micros, write_cursor
from app.api.paging import cut
from app.api.schemas import QueueNeeded, ServicesNeeded, Typed
from app.api.supplier_filter import know_supplier
from app.dashboard.charts import USUAL, WINDOWS, by_queue, charts_of
from app.dashboard.entering import PageRoute, Reader, Starter, call_it
from app.dashboard.forms import Form, Outcome, done
from app.dashboard.overview import workers_or_why
from app.dashboard.showing import root_of, show
from app.dashboard.wording import QUEUE_TITLES, counted, segment
from app.errors import Invalid, NotFound
from app.jobs.definitions import QUEUES
from app.persistence import job_lists, job_subjects, minutes
from app.persistence.job_lists import JobFilter
from app.states import JobState
from app.sync.operating import by_hand
from app.sync.services import Services
from app.views.ids import uuid_in
from app.views.jobs import job_status, listed_job, queue_stats
from app.views.masking import mask_base

router = APIRouter(include_in_schema=False, route_class=PageRoute)

A_PAGE = 50
FOUND_SHOWN = 100
JobId = Annotated[str, Path(alias="jobId")]
STATES: tuple[str, ...] = get_args(JobState)


@router.get("/queues")
async def get_queues(*, request: Request, services: ServicesNeeded, caller: Reader, window: str = USUAL) -> Response:
    """All three, who works on them, and what they came to: in the last hours, or as far back as `window` says."""
    looked = WINDOWS.get(window, WINDOWS[USUAL])
    async with services.database.read() as db:
        numbers = await job_lists.count_jobs(db, QUEUES)
        spans = by_queue(await minutes.queue_spans(db, span_s=looked.span_s, bar_s=looked.bar_s))
    workers, why = await workers_or_why(services)
    now = datetime.now(UTC)
    return show(
        request,
        caller,
        "queues.html",
        title="Queues",
        queues={name: queue_stats(numbers[name]) for name in QUEUES},
        workers=workers,
        why=why,
        charts={name: charts_of(spans.get(name, []), looked, now, name) for name in QUEUES},
        windows=WINDOWS,
        window=looked,
    )


@router.get("/queues/{queueName}")
async def get_queue(
    *,
    request: Request,
    queue: QueueNeeded,
    services: ServicesNeeded,
    caller: Reader,
    state: Typed = "",
    runId: Typed = "",  # noqa: N803  the parameter's name
    supplier: Typed = "",
    q: Typed = "",
    cursor: str | None = None,
) -> Response:
    """Its jobs, the newest first; with `q` those of a SKU, an address, or the one with that id."""
    wanted = JobFilter(queue, state if state in STATES else None, _run(runId), supplier or None)
    after = read_cursor(AfterTime, cursor)
    async with services.database.read() as db:
        if q and await job_lists.find_job(db, queue, q) is not None:
            return RedirectResponse(f"{root_of(request)}/queues/{queue}/jobs/{segment(q)}", 303)
        await know_supplier(db, wanted.supplier)
        numbers = await job_lists.count_jobs(db, [queue])
        position = None if after is None else (from_micros(after.micros), after.id)
        if q:
            rows = await job_subjects.jobs_about(db, queue, q, FOUND_SHOWN)
        else:
            rows = await job_lists.list_jobs(db, wanted, after=position, limit=A_PAGE + 1)
        shown, more = (rows, False) if q else cut(rows, A_PAGE)
        about = await job_subjects.subjects_of(db, [row.id for row in shown])
    following = write_cursor(AfterTime(to_micros(shown[-1].created_at), shown[-1].id)) if more else None
    return show(
        request,
        caller,
        "queue.html",
        title=f"Queue {QUEUE_TITLES[queue]}",
        queue=queue_stats(numbers[queue]),
        jobs=[listed_job(services.settings, row) for row in shown],
        about={name: mask_base(services.settings, text) for name, text in about.items()},
        following=following,
        wanted=wanted,
        q=q,
        states=STATES,
    )


def _run(text: str) -> str | None:
    known = uuid_in(text)
    if text and known is None:
        raise Invalid(f"runId: {text[:100]} is no run's id")
    return known


@router.get("/queues/{queueName}/jobs/{jobId:segment}")
async def get_job(
    request: Request, queue: QueueNeeded, job_id: JobId, services: ServicesNeeded, caller: Reader
) -> Response:
    """One job: what it is for, how far it is, what went wrong on each attempt."""
    async with services.database.read() as db:
        row = await job_lists.find_job(db, queue, job_id)
        if row is None:
            raise NotFound(f"there is no job {job_id} in {QUEUE_TITLES[queue]}")
        about = await job_subjects.subjects_of(db, [job_id])
        errors = await job_subjects.errors_of(db, job_id)
    settings = services.settings
    return show(
        request,
        caller,
        "job.html",
        title=f"Job {job_id}",
        job=job_status(settings, row),
        about=mask_base(settings, about.get(job_id, "")),
        errors=[{**error, "error": mask_base(settings, str(error.get("error")))} for error in errors],
    )


Verb = Callable[[Services, str, str], Awaitable[None]]
VERBS: dict[str, tuple[Verb, str, str]] = {
    "retry": (by_hand.retry_job, "retryJob", "The job waits again, with all its attempts."),
    "cancel": (by_hand.cancel_job, "cancelJob", "The job is cancelled."),
    "delete": (by_hand.delete_job, "deleteJob", "The job is deleted; its run's counters stay."),
}


@router.post("/queues/{queueName}/jobs/{jobId:segment}/{verb}")
async def act_on_job(
    *, request: Request, queue: QueueNeeded, job_id: JobId, verb: str, services: ServicesNeeded, _: Starter, form: Form
) -> Response:
    """Retry, cancel or delete a job."""
    if verb not in VERBS:
        raise NotFound(f"a job can be {', '.join(VERBS)}, not {verb[:50]}")
    act, action, said = VERBS[verb]
    call_it(request, action, job_id)

    async def work() -> Outcome:
        await act(services, queue, job_id)
        return Outcome(said, f"/queues/{queue}" if verb == "delete" else None)

    return await done(request, form.get("back") or f"/queues/{queue}/jobs/{segment(job_id)}", work())


QUEUE_ACTIONS = {"pause": "pauseQueue", "resume": "resumeQueue", "retry-failed": "retryFailed"}


@router.post("/queues/{queueName}/{verb}")
async def act_on_queue(
    *, request: Request, queue: QueueNeeded, verb: str, services: ServicesNeeded, _: Starter, form: Form
) -> Response:
    """Pause or resume a queue, or retry all that failed."""
    call_it(request, QUEUE_ACTIONS.get(verb, verb[:50]), queue)

    async def work() -> Outcome:
        title = QUEUE_TITLES[queue]
        if verb == "pause":
            await by_hand.pause(services, queue)
            return Outcome(f"{title} is paused: what runs goes on, nothing new is started.")
        if verb == "resume":
            await by_hand.resume(services, queue)
            return Outcome(f"{title} goes on.")
        if verb == "retry-failed":
            takes_long(request)
            retried = await by_hand.retry_failed(services, queue)
            return Outcome(f"{counted(retried, 'failed job waits', 'failed jobs wait')} again.")
        raise NotFound(f"a queue can be paused, resumed, or its failed jobs retried; not {verb[:50]}")

    return await done(request, form.get("back") or f"/queues/{queue}", work())
