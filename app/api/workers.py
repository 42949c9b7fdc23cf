"""The live workers, by their heartbeats."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter

from app.api.auth import Viewer
from app.api.problems import problem_answers
from app.api.schemas import Out, Page, ServicesNeeded, page_example
from app.coordination.heartbeats import live_workers
from app.errors import QueueUnavailable

router = APIRouter(prefix="/api/v1/workers", tags=["jobs and queues"])


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
    summary="The live workers",
    responses={**page_example(EXAMPLE), **problem_answers()},
)
async def list_workers(services: ServicesNeeded, _: Viewer) -> Page[Worker]:
    """One that died is gone within ten seconds."""
    if services.queue is None:
        raise QueueUnavailable("REDIS_URL is not set, so no worker can be seen")
    await services.queue.check()
    beats = await live_workers(services.queue.redis)
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
    return Page(items=sorted(workers, key=lambda worker: (worker.queue_name, worker.id)), next_cursor=None)
