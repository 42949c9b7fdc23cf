"""Runs: one sync of one supplier, from the call to the last picture."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request

from app.api.answer_in_time import asking_the_feed
from app.api.auth import GuardedRoute, Operator, Viewer
from app.api.cursors import AfterProblem, AfterRun, from_micros, to_micros
from app.api.paging import Page, PagingNeeded, page_example
from app.api.problems import problem_answers
from app.api.schemas import DatabaseNeeded, ServicesNeeded, SupplierNamed
from app.api.supplier_filter import know_supplier
from app.errors import NotFound
from app.persistence import run_lists
from app.persistence.database import Database
from app.sync.operating import by_hand
from app.views.ids import uuid_in
from app.views.runs import PROBLEM, RUN, ConfirmedRun, Run, RunProblem, problem_out, run_out
from app.views.shapes import RunStatus

router = APIRouter(prefix="/api/v1/runs", tags=["runs"], route_class=GuardedRoute)


async def get_run_id(
    run_id: Annotated[str, Path(alias="runId", description="A run's `id`.", examples=[RUN["id"]])],
) -> str:
    """The run that a path names; what is no run id is an unknown run."""
    known = uuid_in(run_id)
    if known is None:
        raise NotFound(f"there is no run {run_id}")
    return known


RunId = Annotated[str, Depends(get_run_id)]


@router.get(
    "",
    operation_id="listRuns",
    summary="Runs, the newest first",
    responses={**page_example(RUN), **problem_answers(404)},
)
async def list_runs(
    *,
    request: Request,
    database: DatabaseNeeded,
    _: Viewer,
    paging: PagingNeeded,
    supplier: SupplierNamed = None,
    status: Annotated[RunStatus | None, Query(description="Only runs in this state.")] = None,
) -> Page[Run]:
    """`supplier` is a supplier's code or `documentId`."""
    after = paging.after(AfterRun)
    async with database.quick() as db:
        await know_supplier(db, supplier)
        rows = await run_lists.list_runs(
            db,
            supplier=supplier,
            status=status,
            after=None if after is None else (from_micros(after.micros), after.id),
            limit=paging.rows,
        )
    return paging.page(
        rows,
        partial(run_out, request.app.state.settings),
        lambda row: AfterRun(to_micros(row["created_at"]), str(row["id"])),
    )


@router.get(
    "/{runId:segment}",
    operation_id="getRun",
    summary="One run with its counters",
    responses=problem_answers(404),
)
async def get_run(request: Request, run_id: RunId, database: DatabaseNeeded, _: Viewer) -> Run:
    """All counters are there from the first moment, and live."""
    return await _run(request, database, run_id)


async def _run(request: Request, database: Database, run_id: str) -> Run:
    async with database.quick() as db:
        row = await run_lists.find_run(db, run_id)
    if row is None:
        raise NotFound(f"there is no run {run_id}")
    return run_out(request.app.state.settings, row)


@router.post(
    "/{runId:segment}/cancel",
    operation_id="cancelRun",
    summary="Cancel a run",
    responses=problem_answers(403, 404, 409),
)
async def cancel_run(request: Request, run_id: RunId, services: ServicesNeeded, _: Operator) -> Run:
    """Within ten seconds nothing of it asks the origin or the store any more.

    409 for a run that is over, unless a job of it was retried since: that is cancelled, and the run stays as it ended.
    """
    await by_hand.cancel_run(services, run_id)
    return await _run(request, services.database, run_id)


@router.post(
    "/{runId:segment}/confirm-removals",
    operation_id="confirmRemovals",
    summary="Allow the removals that the guard held back",
    status_code=202,
    responses=problem_answers(403, 404, 409, 502),
    dependencies=[Depends(asking_the_feed)],  # it reads the manifest
)
async def confirm_removals(run_id: RunId, services: ServicesNeeded, _: Operator) -> ConfirmedRun:
    """Starts a run that may remove what this one manifest lacks. 409 when the manifest is another one by now."""
    started = await by_hand.confirm_removals(services, run_id)
    return ConfirmedRun(supplier=started.supplier, job_id=started.job_id, run_id=started.run_id)


@router.get(
    "/{runId:segment}/problems",
    operation_id="listProblems",
    summary="Everything that a run could not read, fetch or write",
    responses={**page_example(PROBLEM), **problem_answers(404)},
)
async def list_problems(
    *,
    request: Request,
    run_id: RunId,
    database: DatabaseNeeded,
    _: Viewer,
    paging: PagingNeeded,
    severity: Annotated[
        Literal["error", "warning"] | None,
        Query(description="`error`: something was left out. `warning`: it was taken, and the feed is odd."),
    ] = None,
    stage: Annotated[
        Literal["supplier", "family", "image"] | None, Query(description="Only what this stage met.")
    ] = None,
) -> Page[RunProblem]:
    """In the order in which they were met."""
    after = paging.after(AfterProblem)
    async with database.read() as db:
        if await run_lists.find_run(db, run_id) is None:
            raise NotFound(f"there is no run {run_id}")
        rows = await run_lists.list_problems(
            db, run_id, severity=severity, stage=stage, after_id=0 if after is None else after.number, limit=paging.rows
        )
    return paging.page(rows, partial(problem_out, request.app.state.settings), lambda row: AfterProblem(row["id"]))
