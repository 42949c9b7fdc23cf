"""Syncs by the clock: a cron expression and a time zone a supplier, decided by any worker, by one of them.

    due by PostgreSQL's clock ─▶ one transaction: its row held, the next time planned, the run written ─▶ commit ─▶ send
    a run under way           ─▶ only the next time is planned
    failed too often          ─▶ paused, until the schedule is set anew or a run succeeds

However many times were missed while everything was down, the next time is counted from now: one run makes up for them.
"""

from __future__ import annotations

from uuid import uuid4

import msgspec
from structlog import get_logger

from app.catalogue.schedule import next_run
from app.persistence import audit, schedules
from app.persistence.database import Connection
from app.persistence.schedules import ScheduledSupplier
from app.persistence.suppliers import get_supplier
from app.sync.operating.start import Started, StartRequest, send_started, start_one
from app.sync.services import Services

log = get_logger()

LOOK_EVERY_S = 2.0
REQUEST = StartRequest(trigger="schedule")
PAUSED = "pauseSchedule"


class Turn(msgspec.Struct, frozen=True):
    """What became of one supplier that was due."""

    supplier: str
    run: Started | None
    """None when its schedule turned out to make no sense and was paused."""


async def run_schedules(services: Services) -> None:
    """Start what is due, one supplier a transaction, and pause or resume schedules as their runs ended."""
    with audit.acting(audit.Act("schedule", None, "schedule", "startSync", detail={})):
        await _pause_and_resume(services)
        await _start_what_is_due(services)


async def _start_what_is_due(services: Services) -> None:
    while (turn := await services.database.transact(start_due)) is not None:
        if turn.run is None:
            continue
        log.info("by schedule", supplier=turn.supplier, run=turn.run.run_id, started=turn.run.started)
        await send_started(services, [turn.run])


async def start_due(db: Connection) -> Turn | None:
    """Plan the next time of the supplier that is due the longest, and write its run unless one is under way."""
    due = await schedules.take_due(db)
    if due is None:
        return None
    try:
        next_run_at = next_run(due.schedule, due.time_zone, due.now)
    except ValueError as error:
        await schedules.pause(db, due.id, str(error))
        await audit.note(db, PAUSED, due.code, reason=str(error))
        log.error("schedule paused", supplier=due.code, reason=str(error))  # noqa: TRY400  no failure of ours
        return Turn(due.code, None)
    await schedules.plan(db, due.id, next_run_at)
    return Turn(due.code, await start_one(db, await get_supplier(db, due.id), REQUEST, "queued", str(uuid4())))


async def _pause_and_resume(services: Services) -> None:
    most = services.settings.schedule_pause_after_failures
    async with services.database.quick() as db:
        if not await schedules.any_to_pause_or_resume(db, most):
            return

    async def pause_failing(db: Connection) -> list[str]:
        paused = await schedules.pause_failing(db, most)
        for code in paused:
            await audit.note(db, PAUSED, code, reason=f"{most} runs failed in a row")
        return paused

    for code in await services.database.transact(pause_failing):
        log.error("schedule paused", supplier=code, reason=f"{most} runs failed in a row")
    await services.database.transact(resume_recovered)


async def resume_recovered(db: Connection) -> None:
    """Let the schedules go on whose supplier had a successful run since they were paused."""
    for supplier in await schedules.take_recovered(db):
        await _resume(db, supplier)


async def _resume(db: Connection, supplier: ScheduledSupplier) -> None:
    try:
        next_run_at = next_run(supplier.schedule, supplier.time_zone, supplier.now)
    except ValueError:
        return  # paused because it makes no sense: it needs another schedule, not a good run
    await schedules.resume(db, supplier.id, next_run_at)
    await audit.note(db, "resumeSchedule", supplier.code)
    log.info("schedule goes on", supplier=supplier.code, next_run_at=next_run_at.isoformat())
