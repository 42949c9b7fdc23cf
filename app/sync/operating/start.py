"""Starting a sync: one run a supplier, in the ledger first, then its message.

who is meant ─▶ all under way? a look, and nothing is written
                └▶ else one transaction: a run and its supplier job for each that has none under way ─▶ commit ─▶ send
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar
from uuid import uuid4

import msgspec
from structlog import get_logger

from app import traces
from app.errors import Conflict, DatabaseUnavailable, Invalid, NotFound, QueueUnavailable
from app.jobs.definitions import SUPPLIER_SYNC, SupplierJob
from app.jobs.messages import Message
from app.persistence import audit, ledger, runs
from app.persistence.database import Connection
from app.persistence.suppliers import Supplier, active_suppliers, find_supplier
from app.sync.installation import ready_to_queue
from app.sync.services import Services
from app.sync.stage.sending import send_committed

log = get_logger()

Trigger = Literal["api", "cli", "schedule", "dashboard"]
Mode = Literal["queued", "direct"]
T = TypeVar("T")
LOOK_AGAIN_S = (0.1, 0.5, 1.0)
"""Pauses before a commit whose answer may be lost is looked for; a caller waits for 10 s at most."""


class StartRequest(msgspec.Struct, frozen=True):
    """What to sync: one supplier by `documentId` or code, or all active ones; `skus` are families of one supplier."""

    supplier: str | None = None
    force: bool = False
    skus: tuple[str, ...] | None = None
    trigger: Trigger = "api"
    reparse: bool = False
    """Apply the stored documents anew, without the origin (reparse.py)."""


class Started(msgspec.Struct, frozen=True):
    """One supplier's run: the one just started, or the one that was under way already."""

    supplier: str
    run_id: str
    job_id: str
    started: bool


async def start_queued(services: Services, request: StartRequest) -> list[Started]:
    """Start queued runs; a supplier whose run is under way keeps that one.

    Raises:
        NotFound: there is no such supplier.
        Conflict: the supplier is inactive, or, for a reparse, a run of it is under way.
        Invalid: `skus` without a supplier.
        QueueUnavailable: Redis is away or refuses writes; nothing was started.
        DatabaseUnavailable: PostgreSQL is away or refuses writes; nothing was started.
    """
    if services.queue is None:
        raise QueueUnavailable("REDIS_URL is not set, so nothing can be queued: set it, or sync with useQueue: false")
    await ready_to_queue(services, services.queue)
    there = await _under_way(services, request)
    if there is not None:
        return there
    started = await start_runs(services, request, "queued")
    await send_started(services, started)
    return started


async def _under_way(services: Services, request: StartRequest) -> list[Started] | None:
    """What is under way where that is all that is meant: a look in place of locks and two flushes to disk.

    It says what was so at that moment, as an answer of `start_runs` does once its transaction is over.
    """
    if request.reparse or (request.skus is not None and request.supplier is None):
        return None
    async with services.database.quick() as db:
        found = await runs.under_way(db, request.supplier)
    if found is None:
        return None
    return [Started(supplier, run.run_id, run.job_id, started=False) for supplier, run in found.items()]


async def start_runs(services: Services, request: StartRequest, mode: Mode) -> list[Started]:
    """Write runs and their supplier jobs, without dispatching them.

    Raises:
        NotFound: there is no such supplier.
        Conflict: the supplier is inactive, or, for a direct sync or a reparse, a run of it is under way.
        Invalid: `skus` without a supplier.
    """
    mine = RunIds()

    async def work(db: Connection) -> list[Started]:
        started = [
            await start_one(db, supplier, request, mode, mine.of(supplier.code))
            for supplier in await meant(db, request)
        ]
        taken = [run.supplier for run in started if not run.started]
        if taken and (mode == "direct" or request.reparse):
            raise Conflict(f"a sync of {', '.join(taken)} is under way: wait for it, or cancel its run")
        return started

    return await finding_own(lambda: services.database.transact(work), mine)


class RunIds:
    """The ids of the runs that one call starts, the same however often its transaction is repeated."""

    def __init__(self) -> None:
        self._by_supplier: dict[str, str] = {}

    def of(self, supplier: str) -> str:
        """The id of the run of one supplier, by its code."""
        return self._by_supplier.setdefault(supplier, str(uuid4()))

    @property
    def any(self) -> bool:
        """Whether one may have been written."""
        return bool(self._by_supplier)


async def finding_own(attempt: Callable[[], Awaitable[T]], mine: RunIds) -> T:
    """Commit; where the answer was lost look again, so that "nothing was started" is said only when it is so.

    Raises:
        DatabaseUnavailable: PostgreSQL is away or refuses writes.
    """
    for pause_s in LOOK_AGAIN_S:
        try:
            return await attempt()
        except DatabaseUnavailable:
            if not mine.any:
                raise
            await asyncio.sleep(pause_s)
    return await attempt()


async def meant(db: Connection, request: StartRequest) -> list[Supplier]:
    """The suppliers that a request is about.

    Raises:
        NotFound: there is no such supplier.
        Conflict: the supplier is inactive.
        Invalid: `skus` without a supplier.
    """
    if request.supplier is None:
        if request.skus is not None:
            raise Invalid("skus names families of one supplier: give supplierId too")
        return await active_suppliers(db)
    supplier = await find_supplier(db, request.supplier)
    if supplier is None:
        raise NotFound(f"there is no supplier {request.supplier}")
    if not supplier.is_active:
        raise Conflict(f"supplier {supplier.code} is inactive: activate it to sync it")
    return [supplier]


async def start_one(db: Connection, supplier: Supplier, request: StartRequest, mode: Mode, run_id: str) -> Started:
    """Write one supplier's run and its job, or give the run that is under way; whoever calls commits, then sends."""
    job_id = f"{SUPPLIER_SYNC}-{time.time_ns() // 1_000_000}-{supplier.code}"
    options = ledger.RunOptions(
        force=request.force or request.skus is not None, skus=request.skus, reparse=request.reparse
    )
    with traces.span(
        "sync start", supplier=supplier.code, trigger=request.trigger, mode=mode, force=options.force
    ) as span:
        run = await runs.start_run(
            db,
            run_id=run_id,
            supplier_id=supplier.id,
            job_id=job_id,
            mode=mode,
            trigger=request.trigger,
            options=options,
        )
        span.note(run=run.run_id, job=run.job_id, outcome="started" if run.started else "under way")
        if run.started and not run.written_before:
            job = ledger.NewJob(
                id=job_id,
                queue=SUPPLIER_SYNC,
                key=supplier.code,
                args=msgspec.to_builtins(SupplierJob(supplier_id=supplier.id)),
                traceparent=span.traceparent,
            )
            await ledger.add_jobs(db, [job], run_id=run.run_id, supplier_id=supplier.id, direct=mode == "direct")
            await audit.note(db, "startSync", supplier.code, runId=run.run_id, mode=mode, **_asked_beside(request))
    return Started(supplier.code, run.run_id, run.job_id, run.started)


def _asked_beside(request: StartRequest) -> dict[str, object]:
    """What the audit trail says of a request beside its supplier: what is not as usual."""
    asked = {"force": request.force, "skus": request.skus, "reparse": request.reparse}
    return {name: value for name, value in asked.items() if value}


async def send_started(services: Services, started: Sequence[Started]) -> None:
    """Dispatch the runs that were just committed; those that had been under way before are left alone."""
    messages = [Message(run.job_id, SUPPLIER_SYNC, run.run_id) for run in started if run.started]
    await send_committed(services.queue, messages)
