"""The live workers, by their heartbeats."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.auth import GuardedRoute, Viewer
from app.api.cursors import AfterText, Cursor, read_cursor, write_cursor
from app.api.problems import problem_answers
from app.api.schemas import DEFAULT_LIMIT, Limit, Page, ServicesNeeded, cut, page_example
from app.sync.operating.workers import place_of, workers_now
from app.views.workers import WORKER, Worker

router = APIRouter(prefix="/api/v1/workers", tags=["jobs and queues"], route_class=GuardedRoute)


@router.get(
    "",
    operation_id="listWorkers",
    summary="The live workers, by queue",
    responses={**page_example(WORKER), **problem_answers()},
)
async def list_workers(
    services: ServicesNeeded, _: Viewer, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[Worker]:
    """One that died is gone within ten seconds."""
    after = read_cursor(AfterText, cursor)
    left = [worker for worker in await workers_now(services) if after is None or place_of(worker) > after.key]
    shown, more = cut(left, limit)
    return Page(items=list(shown), next_cursor=write_cursor(AfterText(place_of(shown[-1]))) if more else None)
