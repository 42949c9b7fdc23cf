"""The live workers, by their heartbeats."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.auth import GuardedRoute, Viewer
from app.api.cursors import AfterWorker
from app.api.paging import Page, PagingNeeded, page_example
from app.api.problems import problem_answers
from app.api.schemas import ServicesNeeded
from app.sync.operating.workers import place_of, workers_now
from app.views.workers import WORKER, Worker

router = APIRouter(prefix="/api/v1/workers", tags=["jobs and queues"], route_class=GuardedRoute)


@router.get(
    "",
    operation_id="listWorkers",
    summary="The live workers, by queue",
    responses={**page_example(WORKER), **problem_answers()},
)
async def list_workers(services: ServicesNeeded, _: Viewer, paging: PagingNeeded) -> Page[Worker]:
    """One that died is gone within ten seconds."""
    after = paging.after(AfterWorker)
    left = [worker for worker in await workers_now(services) if after is None or place_of(worker) > after.place]
    return paging.page(left, lambda worker: worker, lambda worker: AfterWorker(place_of(worker)))
