"""Suppliers: who is synced, when, and how much may disappear at once."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from msgspec import to_builtins
from pydantic import Field

from app.api.answer_in_time import asking_the_feed
from app.api.auth import Admin, GuardedRoute, Viewer
from app.api.conditional_writes import IfMatch, others_than
from app.api.cursors import AfterSupplier
from app.api.paging import Page, PagingNeeded, page_example
from app.api.problems import problem_answers
from app.api.schemas import DatabaseNeeded, ServicesNeeded
from app.api.validators import NOT_MODIFIED, unchanged_page, unchanged_view
from app.persistence import supplier_records
from app.sync.operating import suppliers as operating
from app.sync.operating.discovery import discover
from app.views.bodies import NewSupplier, SupplierChanges
from app.views.shapes import Out, example
from app.views.suppliers import SUPPLIER, Supplier, supplier_out

router = APIRouter(prefix="/api/v1/suppliers", tags=["suppliers"], route_class=GuardedRoute)

SupplierId = Annotated[str, Path(alias="supplierId", description="`documentId` or code.", examples=["A360"])]


PASSED_OVER = (
    "Codes that the manifest names and another supplier has as its `documentId`: they are not added, since each would "
    "mean that one. Absent where there is none."
)


class Discovered(Out):
    """The suppliers that were new."""

    model_config = example(added=1, items=[SUPPLIER])
    added: int
    items: list[Supplier]
    passed_over: list[str] = Field(default_factory=list, description=PASSED_OVER)


@router.get(
    "",
    operation_id="listSuppliers",
    summary="Suppliers by code",
    response_model=Page[Supplier],
    responses={**page_example(SUPPLIER), **NOT_MODIFIED, **problem_answers()},
)
async def list_suppliers(
    request: Request, response: Response, database: DatabaseNeeded, _: Viewer, paging: PagingNeeded
) -> Page[Supplier] | Response:
    """Each with its last run."""
    after, settings = paging.after(AfterSupplier), request.app.state.settings
    async with database.quick() as db:
        rows = await supplier_records.list_suppliers(
            db, after_code="" if after is None else after.code, limit=paging.rows
        )
    stamp = [settings.removal_guard_share, paging.limit, to_builtins(rows)]
    known = unchanged_page(request, response, "suppliers", stamp)
    if known is not None:
        return known
    return paging.page(rows, partial(supplier_out, settings), lambda row: AfterSupplier(row.code))


@router.post(
    "",
    operation_id="createSupplier",
    summary="Add a supplier",
    status_code=201,
    responses=problem_answers(403, 408, 409),
)
async def create_supplier(request: Request, database: DatabaseNeeded, _: Admin, body: NewSupplier) -> Supplier:
    """409 when its code or `documentId` is taken."""
    return supplier_out(request.app.state.settings, await operating.create_supplier(database, body))


@router.post(
    "/discover",
    operation_id="discoverSuppliers",
    summary="Add the suppliers that the manifest names",
    responses=problem_answers(403, 502),
    dependencies=[Depends(asking_the_feed)],
    response_model_exclude_unset=True,
)
async def discover_suppliers(request: Request, services: ServicesNeeded, _: Admin) -> Discovered:
    """`items` are the ones that were new."""
    found = await discover(services)
    async with services.database.quick() as db:
        rows = await supplier_records.suppliers_by_code(db, found.codes)
    items = [supplier_out(request.app.state.settings, row) for row in rows]
    passed_over = {"passed_over": found.passed_over} if found.passed_over else {}
    return Discovered(added=len(found.codes), items=items, **passed_over)


@router.get(
    "/{supplierId:segment}",
    operation_id="getSupplier",
    summary="One supplier",
    response_model=Supplier,
    responses={**NOT_MODIFIED, **problem_answers(404)},
)
async def get_supplier(
    request: Request, response: Response, supplier_id: SupplierId, database: DatabaseNeeded, _: Viewer
) -> Supplier | Response:
    """By `documentId` or code, with its last run."""
    async with database.quick() as db:
        row = await operating.found_supplier(db, supplier_id)
    supplier = supplier_out(request.app.state.settings, row)
    return unchanged_view(request, response, supplier) or supplier


@router.patch(
    "/{supplierId:segment}",
    operation_id="updateSupplier",
    summary="Change a supplier",
    responses=problem_answers(403, 404, 408, 412),
)
async def update_supplier(
    request: Request,
    supplier_id: SupplierId,
    database: DatabaseNeeded,
    _: Admin,
    body: SupplierChanges,
    if_match: IfMatch = None,
) -> Supplier:
    """A new schedule or time zone counts from now on, as does an old one when its supplier is active again.

    With `If-Match` only where it is still as it was read, its last run included.
    """
    shown = partial(supplier_out, request.app.state.settings)
    refuse = others_than(if_match, shown)
    return shown(await operating.update_supplier(database, supplier_id, body, refuse=refuse))


@router.post(
    "/{supplierId:segment}/reset",
    operation_id="resetSupplier",
    summary="Take everything of a supplier as unknown",
    responses=problem_answers(403, 404, 412),
)
async def reset_supplier(
    request: Request, supplier_id: SupplierId, database: DatabaseNeeded, _: Admin, if_match: IfMatch = None
) -> Supplier:
    """The next sync fetches and writes it anew; nothing is deleted.

    With `If-Match` only where the supplier is still as it was read.
    """
    shown = partial(supplier_out, request.app.state.settings)
    return shown(await operating.reset_supplier(database, supplier_id, refuse=others_than(if_match, shown)))
