"""`promidata-sync workers`: who works, by heartbeat."""

from __future__ import annotations

from app.cli.surroundings import with_services
from app.cli.telling import Teller, in_one_line, own_name, tell_json
from app.sync.operating.workers import workers_now
from app.views.shapes import shown_json


def show_workers(*, as_json: bool) -> None:
    """Print the live workers, by queue.

    Raises:
        QueueUnavailable: Redis is away, or REDIS_URL is not set.
    """
    found = with_services(workers_now)
    if as_json:
        tell_json([shown_json(worker) for worker in found])
        return
    teller = Teller()
    for worker in found:
        teller.say(in_one_line(f"{worker.id}  {worker.queue_name}, {worker.active} of {worker.concurrency} slots busy"))
        teller.say(in_one_line(f"    process {worker.pid} on {worker.hostname}"))
        teller.say(f"    since {worker.started_at:%Y-%m-%d %H:%M:%S}, heard {worker.last_heartbeat_at:%H:%M:%S}")
    if not found:
        teller.say(f"no worker lives; start one with `{own_name()} worker supplier`, `family` or `image`")
