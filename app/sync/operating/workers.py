"""Who works: the workers that were heard of within the last ten seconds."""

from __future__ import annotations

from app.coordination.heartbeats import live_workers
from app.errors import QueueUnavailable
from app.sync.services import Services
from app.views.workers import Worker, worker_out


async def workers_now(services: Services) -> list[Worker]:
    """The live workers, by queue and id.

    Raises:
        QueueUnavailable: Redis is away, or REDIS_URL is not set.
    """
    if services.queue is None:
        raise QueueUnavailable("REDIS_URL is not set, so no worker can be seen")
    await services.queue.check()
    beats = await live_workers(services.queue.redis, services.queue.keys)
    return sorted(map(worker_out, beats), key=place_of)


def place_of(worker: Worker) -> str:
    """Where a worker stands in the list."""
    return f"{worker.queue_name} {worker.id}"
