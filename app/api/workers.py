"""The live workers, by their heartbeats."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter

from app.api.auth import GuardedRoute, Viewer
from app.api.cursors import AfterText, Cursor, read_cursor, write_cursor
from app.api.problems import problem_answers
from app.api.schemas import DEFAULT_LIMIT, Limit, Out, Page, ServicesNeeded, cut, page_example
from app.coordination.heartbeats import live_workers
from app.errors import QueueUnavailable

router = APIRouter(prefix="/api/v1/workers", tags=["jobs and queues"], route_class=GuardedRoute)


class Worker(Out):
    """One working process."""

    id: str
    queue_name: str
    hostname: str
    pid: int
    started_at: datetime
    last_heartbeat_at: datetime
    concurrency: int
    active: int


EXAMPLE = {
    "id": "9f2c6c0b",
    "queueName": "image-upload",
    "hostname": "sync-1",
    "pid": 4711,
    "startedAt": "2026-01-05T03:00:00Z",
    "lastHeartbeatAt": "2026-01-05T03:10:02Z",
    "concurrency": 10,
    "active": 4,
}


@router.get(
    "",
    operation_id="listWorkers",
    summary="The live workers, by queue",
    responses={**page_example(EXAMPLE), **problem_answers()},
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
    workers = [
        Worker(
            id=beat.id,
            queue_name=beat.queue_name,
            hostname=beat.hostname,
            pid=beat.pid,
            started_at=beat.started_at,
            last_heartbeat_at=beat.last_heartbeat_at,
            concurrency=beat.concurrency,
            active=beat.active,
        )
        for beat in beats
    ]
    left = [worker for worker in sorted(workers, key=_place) if after is None or _place(worker) > after.key]
    shown, more = cut(left, limit)
    return Page(items=list(shown), next_cursor=write_cursor(AfterText(_place(shown[-1]))) if more else None)


def _place(worker: Worker) -> str:
    return f"{worker.queue_name} {worker.id}"
