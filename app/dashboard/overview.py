"""The first page: what needs attention, what is going on, and who is there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.schemas import ServicesNeeded
from app.dashboard.attention import Seen, concerns
from app.dashboard.charts import USUAL, WINDOWS, charts_of
from app.dashboard.entering import PageRoute, Reader, caller_of
from app.dashboard.showing import show
from app.dashboard.sign_in import show_sign_in
from app.errors import QueueUnavailable
from app.jobs.definitions import QUEUES
from app.persistence import job_lists, minutes, moving, supplier_records
from app.states import UNDER_WAY
from app.sync.operating.workers import workers_now
from app.sync.services import Services
from app.views.jobs import queue_stats
from app.views.progress import stages
from app.views.runs import run_out
from app.views.suppliers import supplier_out
from app.views.workers import Worker

router = APIRouter(include_in_schema=False, route_class=PageRoute)

RECENT = 10
MOST_SUPPLIERS = 500


@router.get("/")
async def get_overview(request: Request, services: ServicesNeeded) -> Response:
    """The overview; a stranger is asked to sign in at this very address."""
    caller = caller_of(request)
    if caller is None:
        return show_sign_in(request)
    seen = await look(services)
    window = WINDOWS[USUAL]
    async with services.database.read() as db:
        spans = await minutes.queue_spans(db, span_s=window.span_s, bar_s=window.bar_s)
        span = await minutes.service_span(db, span_s=window.span_s)
    runs = sorted(seen.runs.values(), key=lambda run: run.created_at, reverse=True)
    running = [{"run": run, "stages": stages(run)} for run in runs if run.status in UNDER_WAY]
    return show(
        request,
        caller,
        "overview.html",
        title="Overview",
        seen=seen,
        concerns=concerns(seen),
        running=running,
        window=window,
        span=span,
        charts=charts_of(spans, window, datetime.now(UTC), "all"),
        recent=[run for run in runs if run.status not in UNDER_WAY][:RECENT],
    )


async def look(services: Services) -> Seen:
    """Read where things stand; PostgreSQL once, Redis once."""
    settings = services.settings
    async with services.database.read() as db:
        rows = await supplier_records.list_suppliers(db, after_code="", limit=MOST_SUPPLIERS)
        suppliers = [supplier_out(settings, row) for row in rows]
        ended_badly = [s.last_run.id for s in suppliers if s.last_run and s.last_run.status != "completed"]
        runs = [run_out(settings, row) for row in await moving.moving_runs(db, ended_badly)]
        numbers = await job_lists.count_jobs(db, QUEUES)
    workers, no_redis = await workers_or_why(services)
    return Seen(
        suppliers=suppliers,
        runs={run.id: run for run in runs},
        queues={name: queue_stats(numbers[name]) for name in QUEUES},
        workers=workers,
        no_redis=no_redis,
        has_feed=settings.promidata_base_url is not None,
    )


async def workers_or_why(services: Services) -> tuple[list[Worker] | None, str | None]:
    """The live workers, or why nobody can say."""
    try:
        return await workers_now(services), None
    except QueueUnavailable as error:
        return None, str(error)


@router.get("/workers")
async def get_workers(request: Request, services: ServicesNeeded, caller: Reader) -> Response:
    """Every live worker."""
    workers, why = await workers_or_why(services)
    values: dict[str, Any] = {"workers": workers, "why": why}
    return show(request, caller, "workers.html", title="Workers", **values)
