"""Runs: their list, and one with everything about it and what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from app.api.answer_in_time import takes_long
from app.api.cursors import AfterProblem, AfterRun, from_micros, read_cursor, to_micros, write_cursor
from app.api.paging import cut
from app.api.runs import RunId
from app.api.schemas import ServicesNeeded, Typed
from app.api.supplier_filter import know_supplier
from app.api.sync import StartSync
from app.dashboard.entering import PageRoute, Reader, Starter
from app.dashboard.forms import Form, Outcome, done
from app.dashboard.showing import show
from app.dashboard.wording import RUN_STATES
from app.errors import NotFound
from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, QUEUES, SUPPLIER_SYNC
from app.persistence import change_feed, job_lists, run_lists
from app.persistence.job_lists import JobFilter
from app.states import UNDER_WAY
from app.sync.operating import by_hand
from app.sync.operating.start import Started, start_queued
from app.sync.services import Services
from app.views.changes import change_json
from app.views.jobs import job_status, listed_job
from app.views.progress import stages
from app.views.runs import RunProblem, problem_out, run_out

router = APIRouter(include_in_schema=False, route_class=PageRoute)

A_PAGE = 30
PROBLEMS_READ = 500
ADDRESSES_SHOWN = 5
CHANGES_SHOWN = 30
FAILED_SHOWN = 10


@router.get("/runs")
async def get_runs(
    *,
    request: Request,
    services: ServicesNeeded,
    caller: Reader,
    supplier: Typed = "",
    status: Typed = "",
    cursor: str | None = None,
) -> Response:
    """Runs, the newest first."""
    after = read_cursor(AfterRun, cursor)
    async with services.database.read() as db:
        await know_supplier(db, supplier or None)
        rows = await run_lists.list_runs(
            db,
            supplier=supplier or None,
            status=status if status in RUN_STATES else None,
            after=None if after is None else (from_micros(after.micros), after.id),
            limit=A_PAGE + 1,
        )
    shown, more = cut(rows, A_PAGE)
    following = write_cursor(AfterRun(to_micros(shown[-1]["created_at"]), str(shown[-1]["id"]))) if more else None
    return show(
        request,
        caller,
        "runs.html",
        title="Runs",
        runs=[run_out(services.settings, row) for row in shown],
        following=following,
        states=RUN_STATES,
        supplier=supplier,
        state=status,
    )


class ProblemGroup(msgspec.Struct):
    """Problems with the same reason."""

    first: RunProblem
    number: int = 0
    shown: list[RunProblem] = msgspec.field(default_factory=list)


def grouped(problems: Sequence[RunProblem]) -> list[ProblemGroup]:
    """Problems by what they are and why, errors first, then the most frequent."""
    groups: dict[tuple[str, ...], ProblemGroup] = {}
    for problem in problems:
        key = (problem.severity, problem.stage, problem.kind, problem.reason)
        group = groups.setdefault(key, ProblemGroup(problem))
        group.number += 1
        group.shown.append(problem)
    return sorted(groups.values(), key=lambda group: (group.first.severity != "error", -group.number))


@router.get("/runs/{runId:segment}")
async def get_run(
    *, request: Request, run_id: RunId, services: ServicesNeeded, caller: Reader, after: str | None = None
) -> Response:
    """One run."""
    values = await _read_run(services, run_id, after)
    return show(request, caller, "run.html", title=f"Sync of {values['run'].supplier}", **values)


async def _read_run(services: Services, run_id: str, after: str | None) -> dict[str, Any]:
    position = read_cursor(AfterProblem, after)
    settings = services.settings
    async with services.database.read() as db:
        row = await run_lists.find_run(db, run_id)
        if row is None:
            raise NotFound(f"there is no run {run_id}")
        rows = await run_lists.list_problems(
            db,
            run_id,
            severity=None,
            stage=None,
            after_id=0 if position is None else position.number,
            limit=PROBLEMS_READ + 1,
        )
        job = await job_lists.find_job(db, SUPPLIER_SYNC, row["supplier_job_id"])
        failed = {
            queue: await job_lists.list_jobs(db, JobFilter(queue, "failed", run_id), after=None, limit=FAILED_SHOWN + 1)
            for queue in (PRODUCT_FAMILY, IMAGE_UPLOAD)
        }
        changes = await change_feed.changes_of_run(db, run_id, CHANGES_SHOWN)
    run = run_out(settings, row)
    problems, more = cut(rows, PROBLEMS_READ)
    return {
        "run": run,
        "stages": stages(run),
        "under_way": run.status in UNDER_WAY,
        "groups": grouped([problem_out(settings, problem) for problem in problems]),
        "addresses_shown": ADDRESSES_SHOWN,
        "in_part": more or position is not None,
        "following": write_cursor(AfterProblem(problems[-1]["id"])) if more else None,
        "job": None if job is None else job_status(settings, job),
        "failed_jobs": [listed_job(settings, job) for jobs in failed.values() for job in jobs[:FAILED_SHOWN]],
        "jobs_shown": FAILED_SHOWN,
        "jobs_left_out": [queue for queue, jobs in failed.items() if len(jobs) > FAILED_SHOWN],
        "changes": [change_json(change) for change in changes],
        "queues": QUEUES,
    }


@router.post("/runs/{runId:segment}/cancel", name="cancelRun")
async def cancel_run(request: Request, run_id: RunId, services: ServicesNeeded, _: Starter, __: Form) -> Response:
    """Nothing of it is started any more."""

    async def work() -> Outcome:
        await by_hand.cancel_run(services, run_id)
        return Outcome("The run is being cancelled: what is in hand ends within ten seconds.")

    return await done(request, f"/runs/{run_id}", work())


@router.post("/runs/{runId:segment}/confirm-removals", name="confirmRemovals")
async def confirm_removals(request: Request, run_id: RunId, services: ServicesNeeded, _: Starter, __: Form) -> Response:
    """Starts a run that may remove what the guard held back."""
    takes_long(request)

    async def work() -> Outcome:
        started = await by_hand.confirm_removals(services, run_id, trigger="dashboard")
        said = "Confirmed: this run may remove what that manifest does not name any more."
        return Outcome(said, f"/runs/{started.run_id}")

    return await done(request, f"/runs/{run_id}", work())


@router.post("/sync", name="startSync")
async def start_sync(request: Request, services: ServicesNeeded, _: Starter, form: Form) -> Response:
    """Start a sync of one supplier, or of all active ones; leads to its run where it is one."""
    takes_long(request)
    skus = form.get("skus", "").split() or None
    asked = {"supplierId": form.get("supplier") or None, "force": "force" in form, "skus": skus}

    async def work() -> Outcome:
        return _began(await start_queued(services, StartSync.model_validate(asked).request("dashboard")))

    return await done(request, form.get("back", "/"), work())


def _began(started: Sequence[Started]) -> Outcome:
    if not started:
        return Outcome("No supplier is active: discover or activate one first.")
    new = sum(run.started for run in started)
    if len(started) == 1:
        said = "The sync has begun." if new else "A sync of this supplier was under way already."
        return Outcome(said, f"/runs/{started[0].run_id}")
    return Outcome(f"{new} syncs have begun; {len(started) - new} were under way already.")
