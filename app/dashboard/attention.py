"""What needs somebody's attention first. Pure: from what was read to a list of lines, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from app.dashboard.wording import QUEUE_TITLES, counted, number, segment
from app.jobs.definitions import QueueName
from app.views.jobs import QueueStats
from app.views.runs import Run
from app.views.suppliers import Supplier
from app.views.workers import Worker


class Concern(msgspec.Struct, frozen=True):
    """One line: what it is, why, and the page where something can be done about it."""

    level: Literal["bad", "warn"]
    what: str
    why: str
    path: str


class Seen(msgspec.Struct, frozen=True):
    """Where things stand."""

    suppliers: Sequence[Supplier]
    runs: Mapping[str, Run]
    """By id: those that are under way, the newest, and the last of each supplier that did not end well."""
    queues: Mapping[QueueName, QueueStats]
    workers: Sequence[Worker] | None
    """None when nobody can say."""
    no_redis: str | None
    """Why not."""
    has_feed: bool
    """Whether PROMIDATA_BASE_URL is set."""


def concerns(seen: Seen) -> list[Concern]:
    """What needs attention, the worst first."""
    found = [*_of_service(seen), *_of_queues(seen)]
    for supplier in seen.suppliers:
        found += _of_supplier(supplier, seen.runs)
    return sorted(found, key=lambda concern: concern.level != "bad" and 1)


def _of_service(seen: Seen) -> list[Concern]:
    found = []
    if not seen.has_feed:
        found.append(Concern("bad", "No feed is set", "PROMIDATA_BASE_URL is empty: no supplier can be synced.", "/"))
    if seen.no_redis is not None:
        found.append(Concern("bad", "Redis does not answer", seen.no_redis, "/queues"))
    return found


def _of_queues(seen: Seen) -> list[Concern]:
    found = []
    for name, queue in seen.queues.items():
        title, path = QUEUE_TITLES[name], f"/queues/{name}"
        if seen.workers is not None and not any(worker.queue_name == name for worker in seen.workers):
            due = queue.waiting + queue.delayed
            waiting = f"{counted(due, 'job waits', 'jobs wait')}." if due else ""
            level: Literal["bad", "warn"] = "bad" if waiting or queue.active else "warn"
            found.append(Concern(level, f"No worker lives for {title}", waiting or "Nothing waits yet.", path))
        if queue.paused:
            found.append(Concern("warn", f"{title} is paused", "No job is started until it is resumed.", path))
        if queue.failed:
            again = "; what fails in every sync counts each time" if queue.failed > 1 else ""
            why = f"{counted(queue.failed, 'job has', 'jobs have')} failed{again}."
            found.append(Concern("warn", f"Failed jobs in {title}", why, f"{path}?state=failed"))
    return found


def _of_supplier(supplier: Supplier, runs: Mapping[str, Run]) -> list[Concern]:
    found = []
    last = supplier.last_run
    if supplier.schedule_paused_at is not None:
        why = supplier.schedule_paused_reason or "Too many runs failed."
        found.append(
            Concern("bad", f"{supplier.code}: the schedule is paused", why, f"/suppliers/{segment(supplier.code)}")
        )
    if last is None:
        return found
    run = runs.get(last.id)
    if run is not None and run.guard is not None:
        why = (
            f"{number(run.guard.would_remove)} of {number(run.guard.active)} families would go; "
            "nothing was removed until somebody confirms it."
        )
        found.append(Concern("bad", f"{supplier.code}: removals are held back", why, f"/runs/{last.id}"))
    elif last.status == "failed":
        found.append(
            Concern(
                "bad", f"{supplier.code}: the last sync failed", last.error or "See its problems.", f"/runs/{last.id}"
            )
        )
    return found
