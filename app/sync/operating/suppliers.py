"""What an operator does to suppliers: added, changed, planned, reset; each in one transaction with its audit entry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from app.catalogue.schedule import find_zone, next_run
from app.errors import Conflict, FieldInvalid, NotFound
from app.persistence import audit, documents, supplier_records
from app.persistence.database import Connection, Database
from app.persistence.supplier_records import SupplierRow
from app.views.bodies import NewSupplier, SupplierChanges

SCHEDULING = frozenset({"schedule", "time_zone", "is_active"})


async def create_supplier(database: Database, body: NewSupplier) -> SupplierRow:
    """Add one.

    Raises:
        Conflict: its code or `documentId` is taken.
        FieldInvalid: the schedule or the time zone makes no sense.
    """

    async def work(db: Connection) -> SupplierRow:
        values: dict[str, Any] = body.model_dump(exclude={"code", "document_id"})
        values["name"] = body.name or body.code
        values["next_run_at"] = await _next_run(db, body.schedule, body.time_zone, is_active=body.is_active)
        if not await supplier_records.insert_supplier(db, code=body.code, document_id=body.document_id, values=values):
            raise Conflict(f"there is a supplier {body.code} already, or one with that documentId")
        await audit.note(db, "createSupplier", body.code, **body.as_sent())
        return await found_supplier(db, body.code)

    return await database.transact(work)


async def update_supplier(
    database: Database, supplier: str, body: SupplierChanges, *, refuse: Callable[[SupplierRow], None] | None = None
) -> SupplierRow:
    """Change what the body names; a new schedule or time zone counts from now on, as an old one of who is active again.

    `refuse` sees it as it is, which nobody changes meanwhile, and raises where it is not to be changed.

    Raises:
        NotFound: there is no such supplier.
        FieldInvalid: the schedule or the time zone makes no sense.
    """

    async def work(db: Connection) -> SupplierRow:
        # held, since the next run is worked out from what is read
        found = await found_supplier(db, supplier, held=True)
        if refuse is not None:
            refuse(found)
        values = body.model_dump(exclude_unset=True)
        if values.keys() & SCHEDULING:
            values |= await _schedule_anew(db, found, values)
        await supplier_records.update_supplier(db, found.id, values)
        await audit.note(db, "updateSupplier", found.code, **body.as_sent())
        return await found_supplier(db, found.document_id)

    return await database.transact(work)


async def reset_supplier(
    database: Database, supplier: str, *, refuse: Callable[[SupplierRow], None] | None = None
) -> SupplierRow:
    """Take everything of it as unknown: the next sync fetches and writes it anew; nothing is deleted.

    `refuse` as with `update_supplier`.

    Raises:
        NotFound: there is no such supplier.
    """

    async def work(db: Connection) -> SupplierRow:
        # held, so that no run that is ending notes meanwhile that it left nothing to do
        found = await found_supplier(db, supplier, held=True)
        if refuse is not None:
            refuse(found)
        await documents.reset_supplier(db, found.id)
        await audit.note(db, "resetSupplier", found.code)
        return found

    return await database.transact(work)


async def found_supplier(db: Connection, supplier: str, *, held: bool = False) -> SupplierRow:
    """The supplier with this `documentId` or code; `held` until the transaction's end.

    Raises:
        NotFound: there is none.
    """
    row = await supplier_records.find_supplier_row(db, supplier, held=held)
    if row is None:
        raise NotFound(f"there is no supplier {supplier}")
    return row


async def _schedule_anew(db: Connection, found: SupplierRow, values: dict[str, Any]) -> dict[str, Any]:
    """Plan the next run; a schedule that was paused goes on, and failures count from now."""
    next_run_at = await _next_run(
        db,
        values.get("schedule", found.schedule.cron),
        values.get("time_zone", found.schedule.time_zone),
        is_active=values.get("is_active", found.is_active),
    )
    now = await supplier_records.database_now(db)
    resumed = {"schedule_paused_at": None, "schedule_paused_reason": None, "schedule_resumed_at": now}
    return {"next_run_at": next_run_at, **resumed}


async def _next_run(db: Connection, schedule: str | None, time_zone: str, *, is_active: bool) -> datetime | None:
    field = "timeZone"
    try:
        find_zone(time_zone)
        if schedule is None:
            return None
        field = "schedule"
        planned = next_run(schedule, time_zone, await supplier_records.database_now(db))
    except ValueError as error:
        raise FieldInvalid(field, str(error)) from None
    return planned if is_active else None
