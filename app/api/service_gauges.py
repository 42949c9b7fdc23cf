"""What the API tells Prometheus of the service as a whole when it is asked: the same whichever process of it answers.

    scrape ─┬▶ PostgreSQL: queues, ages, suppliers, change feed ─┐
            ├▶ Redis: who lives ─────────────────────────────────┼▶ gauges; where a part is away its last values stay
            └▶ database, redis, storage: do they take writes ────┘

In a dashboard take `max` over the processes, never `sum`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

from prometheus_client import CollectorRegistry, Gauge

from app.api.health import Readiness
from app.coordination.heartbeats import live_workers
from app.errors import OutageError
from app.jobs.definitions import QUEUES
from app.jobs.queue import RedisQueue
from app.persistence import job_lists, measures
from app.persistence.database import Database
from app.persistence.job_lists import QueueNumbers
from app.persistence.measures import Backlog, OldestJob, SupplierState
from app.sync.services import Services

WITHIN_S = 5.0
"""A scrape has ten seconds as a rule; a part that stands still must not take the figures of the others with it."""
STATES = ("waiting", "active", "delayed", "completed", "failed", "cancelled")


class ServiceGauges:
    """The gauges, and how they are read anew."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"promidata_{name}", what, labels, registry=registry)

        self.jobs = gauge("jobs", "Jobs by queue and state.", "queue", "state")
        self.oldest = gauge(
            "queue_oldest_seconds", "Since the oldest job of an open state was made; 0 for none.", "queue", "state"
        )
        self.paused = gauge("queue_paused", "1 for a paused queue.", "queue")
        self.workers = gauge("workers", "Live workers, by their heartbeats.", "queue")
        self.slots = gauge("worker_slots", "Slots of the live workers, and how many are busy.", "queue", "state")
        self.database_up = gauge("database_up", "1 while the database answers.")
        self.part_up = gauge("part_up", "1 while database, redis or storage answers and takes writes.", "part")
        self.changes_lag = gauge("changes_lag_seconds", "Since the oldest change without a number was written.")
        self.changes_head = gauge("changes_head", "The change feed's last number.")
        self.deliveries_lag = gauge(
            "webhook_lag_seconds", "For how long the delivery that is due the longest has been due; of active webhooks."
        )
        self.last_success = gauge(
            "supplier_last_success_timestamp_seconds", "When the last good run of a supplier ended.", "supplier"
        )
        self.last_failed = gauge("supplier_last_run_failed", "1 when a supplier's last run failed.", "supplier")
        self.guarded = gauge("supplier_guard_tripped", "1 when a supplier's last run held removals back.", "supplier")
        self.under_way = gauge("supplier_run_seconds", "Since the run under way was asked for; 0 for none.", "supplier")

    async def read(self, services: Services, readiness: Readiness) -> None:
        """Take all of it anew, the parts at the same time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_ledger(services.database))
            group.create_task(self._read_parts(readiness))
            if services.queue is not None:
                group.create_task(self._read_workers(services.queue))

    async def _read_ledger(self, database: Database) -> None:
        try:
            async with asyncio.timeout(WITHIN_S), database.quick() as db:
                numbers = await job_lists.count_jobs(db, QUEUES)
                oldest = await measures.oldest_jobs(db, QUEUES)
                backlog = await measures.backlog(db)
                suppliers = await measures.supplier_states(db)
        except (OutageError, TimeoutError):
            self.database_up.set(0)
            return
        self.database_up.set(1)
        self._show_queues(numbers, oldest)
        self._show_backlog(backlog)
        self._show_suppliers(suppliers)

    def _show_queues(self, numbers: dict[str, QueueNumbers], oldest: list[OldestJob]) -> None:
        for name, found in numbers.items():
            self.paused.labels(name).set(found.paused)
            for state in STATES:
                self.jobs.labels(name, state).set(found.states.get(state, 0))
        for job in oldest:
            self.oldest.labels(job.queue, job.state).set(job.age_s)

    def _show_backlog(self, backlog: Backlog) -> None:
        self.changes_lag.set(backlog.changes_lag_s)
        self.changes_head.set(backlog.changes_head)
        self.deliveries_lag.set(backlog.deliveries_lag_s)

    def _show_suppliers(self, suppliers: list[SupplierState]) -> None:
        for gauge in (self.last_success, self.last_failed, self.guarded, self.under_way):
            gauge.clear()  # one that is no longer active has no series
        for supplier in suppliers:
            if supplier.last_success_at is not None:
                self.last_success.labels(supplier.code).set(supplier.last_success_at)
            self.last_failed.labels(supplier.code).set(supplier.last_failed)
            self.guarded.labels(supplier.code).set(supplier.guarded)
            self.under_way.labels(supplier.code).set(supplier.under_way_s)

    async def _read_parts(self, readiness: Readiness) -> None:
        _, states, _ = await readiness.look()
        for part, state in states.items():
            self.part_up.labels(part).set(state == "up")

    async def _read_workers(self, queue: RedisQueue) -> None:
        with suppress(OutageError, TimeoutError):
            async with asyncio.timeout(WITHIN_S):
                beats = await live_workers(queue.redis, queue.keys)
            live, slots, busy = Counter[str](), Counter[str](), Counter[str]()
            for beat in beats:
                live[beat.queue_name] += 1
                slots[beat.queue_name] += beat.concurrency
                busy[beat.queue_name] += beat.active
            for name in QUEUES:
                self.workers.labels(name).set(live[name])
                self.slots.labels(name, "all").set(slots[name])
                self.slots.labels(name, "busy").set(busy[name])
