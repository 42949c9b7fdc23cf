"""A live worker."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from pydantic import Field

from app.coordination.heartbeats import WorkerBeat
from app.views.shapes import Out

WORKER = {
    "id": "9f2c6c0b",
    "queueName": "image-upload",
    "hostname": "sync-1",
    "pid": 4711,
    "startedAt": "2026-01-05T03:00:00Z",
    "lastHeartbeatAt": "2026-01-05T03:10:02Z",
    "concurrency": 10,
    "active": 4,
}


class Worker(Out):
    """One working process."""

    id: str
    queue_name: str
    hostname: str
    pid: int
    started_at: datetime
    last_heartbeat_at: datetime
    concurrency: Annotated[int, Field(description="Its slots.")]
    active: Annotated[int, Field(description="Those of them that have a job.")]


def worker_out(beat: WorkerBeat) -> Worker:
    """A worker's beat as a view."""
    return Worker.model_validate(msgspec.structs.asdict(beat))
