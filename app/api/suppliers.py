"""Suppliers: who is synced, when, and how much may disappear at once."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from msgspec.structs import astuple
from pydantic import Field, StrictBool

from app.api.answer_in_time import taking_long
from app.api.auth import Admin, GuardedRoute, Viewer
from app.api.cursors import AfterText, Cursor, read_cursor, write_cursor
from app.api.problems import ProblemError, problem_answers
from app.api.schemas import (
    DEFAULT_LIMIT,
    DatabaseNeeded,
    In,
    Limit,
    Page,
    ServicesNeeded,
    Storable,
    body_example,
    cut,
    page_example,
)
from app.api.validators import NOT_MODIFIED, unchanged_page
from app.catalogue.schedule import find_zone, next_run
from app.errors import Conflict, NotFound
from app.persistence import audit, documents, supplier_records
from app.persistence.database import Connection
from app.persistence.supplier_records import SupplierRow
from app.sync.operating.discovery import discover
from app.views.shapes import Out, example
from app.views.suppliers import SUPPLIER, Supplier, supplier_out

router = APIRouter(prefix="/api/v1/suppliers", tags=["suppliers"], route_class=GuardedRoute)

SupplierId = Annotated[str, Path(alias="supplierId", description="`documentId` or code.", examples=["A360"])]
Name = Annotated[str, Field(min_length=1, max_length=300), Storable]
Share = Annotated[float, Field(ge=0, le=1)]


class Discovered(Out):
    """The suppliers that were new."""

    model_config = example(added=1, items=[SUPPLIER])
    added: int
    items: list[Supplier]


class NewSupplier(In):
    """A supplier to be added."""

    model_config = body_example(
        code="A360", name="Premo BV", schedule="30 3 * * *", timeZone="Europe/Amsterdam", removalGuardShare=0.2
    )
    code: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\s]+$"), Storable]
    name: Name | None = None
    document_id: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\s]+$"), Storable] | None = None
    is_active: StrictBool = True
    schedule: Name | None = Field(None, description="A cron expression of five fields, or null.")
    time_zone: Name = "UTC"
    removal_guard_share: Share | None = None


class SupplierChanges(In):
    """What to change; a field that is left out stays."""

    model_config = body_example(isActive=True, schedule="0 5 * * 1-5", timeZone="Europe/Amsterdam")
    name: Name = Field(default_factory=str)
    is_active: StrictBool = True
    schedule: Name | None = None
    time_zone: Name = "UTC"
    removal_guard_share: Share | None = Field(None, description="Null for the default.")


@router.get(
    "",
    operation_id="listSuppliers",
    summary="Suppliers by code",
    response_model=Page[Supplier],
    responses={**page_example(SUPPLIER), **NOT_MODIFIED, **problem_answers()},
)
async def list_suppliers(
    *,
    request: Request,
    response: Response,
    database: DatabaseNeeded,
    _: Viewer,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Supplier] | Response:
    """Each with its last run."""
    after = read_cursor(AfterText, cursor)
    async with database.quick() as db:
        rows = await supplier_records.list_suppliers(db, after_code="" if after is None else after.key, limit=limit + 1)
    default_share = request.app.state.settings.removal_guard_share
    known = unchanged_page(request, response, "suppliers", default_share, limit, [astuple(row) for row in rows])
    if known is not None:
        return known
    shown, more = cut(rows, limit)
    return Page(
        items=[supplier_out(request.app.state.settings, row) for row in shown],
        next_cursor=write_cursor(AfterText(shown[-1].code)) if more else None,
    )


@router.post(
    "",
    operation_id="createSupplier",
    summary="Add a supplier",
    status_code=201,
    responses=problem_answers(403, 409, 413),
)
async def create_supplier(request: Request, database: DatabaseNeeded, _: Admin, body: NewSupplier) -> Supplier:
    """409 when its code or `documentId` is taken."""

    async def work(db: Connection) -> SupplierRow:
        values: dict[str, Any] = body.model_dump(exclude={"code", "document_id"})
        values["name"] = body.name or body.code
        values["next_run_at"] = await _next_run(db, body.schedule, body.time_zone, is_active=body.is_active)
        if not await supplier_records.insert_supplier(db, code=body.code, document_id=body.document_id, values=values):
            raise Conflict(f"there is a supplier {body.code} already, or one with that documentId")
        await audit.note(db, "createSupplier", body.code, **_as_sent(body))
        return await _found(db, body.code)

    return supplier_out(request.app.state.settings, await database.transact(work))


@router.post(
    "/discover",
    operation_id="discoverSuppliers",
    summary="Add the suppliers that the manifest names",
    responses=problem_answers(403, 502),
    dependencies=[Depends(taking_long)],
)
async def discover_suppliers(request: Request, services: ServicesNeeded, _: Admin) -> Discovered:
    """`items` are the ones that were new."""
    codes = await discover(services)
    async with services.database.quick() as db:
        rows = await supplier_records.suppliers_by_code(db, codes)
    return Discovered(added=len(codes), items=[supplier_out(request.app.state.settings, row) for row in rows])


@router.get(
    "/{supplierId:segment}",
    operation_id="getSupplier",
    summary="One supplier",
    responses=problem_answers(404),
)
async def get_supplier(request: Request, supplier_id: SupplierId, database: DatabaseNeeded, _: Viewer) -> Supplier:
    """By `documentId` or code, with its last run."""
    async with database.quick() as db:
        return supplier_out(request.app.state.settings, await _found(db, supplier_id))


@router.patch(
    "/{supplierId:segment}",
    operation_id="updateSupplier",
    summary="Change a supplier",
    responses=problem_answers(403, 404, 413),
)
async def update_supplier(
    request: Request, supplier_id: SupplierId, database: DatabaseNeeded, _: Admin, body: SupplierChanges
) -> Supplier:
    """A new schedule or time zone counts from now on, as does an old one when its supplier is active again."""

    async def work(db: Connection) -> SupplierRow:
        # held, since the next run is worked out from what is read
        found = await _found(db, supplier_id, held=True)
        values = body.model_dump(exclude_unset=True)
        if values.keys() & {"schedule", "time_zone", "is_active"}:
            values |= await _schedule_anew(db, found, values)
        await supplier_records.update_supplier(db, found.id, values)
        await audit.note(db, "updateSupplier", found.code, **_as_sent(body))
        return await _found(db, found.document_id)

    return supplier_out(request.app.state.settings, await database.transact(work))


@router.post(
    "/{supplierId:segment}/reset",
    operation_id="resetSupplier",
    summary="Take everything of a supplier as unknown",
    responses=problem_answers(403, 404),
)
async def reset_supplier(request: Request, supplier_id: SupplierId, database: DatabaseNeeded, _: Admin) -> Supplier:
    """The next sync fetches and writes it anew; nothing is deleted."""

    async def work(db: Connection) -> SupplierRow:
        found = await _found(db, supplier_id)
        await documents.reset_supplier(db, found.id)
        await audit.note(db, "resetSupplier", found.code)
        return found

    return supplier_out(request.app.state.settings, await database.transact(work))


def _as_sent(body: In) -> dict[str, Any]:
    return body.model_dump(mode="json", by_alias=True, exclude_unset=True)


async def _found(db: Connection, supplier_id: str, *, held: bool = False) -> SupplierRow:
    row = await supplier_records.find_supplier_row(db, supplier_id, held=held)
    if row is None:
        raise NotFound(f"there is no supplier {supplier_id}")
    return row


async def _schedule_anew(db: Connection, found: SupplierRow, values: dict[str, Any]) -> dict[str, Any]:
    """Plan the next run; a schedule that was paused goes on, and failures count from now."""
    next_run_at = await _next_run(
        db,
        values.get("schedule", found.schedule),
        values.get("time_zone", found.time_zone),
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
        raise ProblemError(422, f"{field}: {error}", errors=[{"field": field, "message": str(error)}]) from None
    return planned if is_active else None
