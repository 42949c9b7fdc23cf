"""The live workers, by their heartbeats."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.auth import GuardedRoute, Viewer
from app.api.cursors import AfterText, Cursor, read_cursor, write_cursor
from app.api.problems import problem_answers
from app.api.schemas import DEFAULT_LIMIT, Limit, Page, ServicesNeeded, cut, page_example
from app.coordination.heartbeats import live_workers
from app.errors import QueueUnavailable
from app.views.workers import WORKER, Worker, worker_out

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
    if services.queue is None:
        raise QueueUnavailable("REDIS_URL is not set, so no worker can be seen")
    await services.queue.check()
    beats = await live_workers(services.queue.redis, services.queue.keys)
    workers = [worker_out(beat) for beat in beats]
    left = [worker for worker in sorted(workers, key=_place) if after is None or _place(worker) > after.key]
    shown, more = cut(left, limit)
    return Page(items=list(shown), next_cursor=write_cursor(AfterText(_place(shown[-1]))) if more else None)


def _place(worker: Worker) -> str:
    return f"{worker.queue_name} {worker.id}"
