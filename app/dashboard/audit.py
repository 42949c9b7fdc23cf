"""The audit trail: who did what to what, when, and what came of it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.audit import place_of, position_of
from app.api.cursors import write_cursor
from app.api.paging import cut
from app.api.schemas import ServicesNeeded, Typed
from app.dashboard.entering import Keeper, PageRoute
from app.dashboard.showing import show
from app.persistence.audit import AuditFilter, list_entries
from app.views.audit import entry_out

router = APIRouter(include_in_schema=False, route_class=PageRoute)

A_PAGE = 50


@router.get("/audit")
async def get_audit(
    *,
    request: Request,
    services: ServicesNeeded,
    caller: Keeper,
    actor: Typed = "",
    action: Typed = "",
    target: Typed = "",
    cursor: str | None = None,
) -> Response:
    """The newest first."""
    wanted = AuditFilter(actor or None, action or None, target or None)
    async with services.database.quick() as db:
        rows = await list_entries(db, wanted, before=position_of(cursor), limit=A_PAGE + 1)
    shown, more = cut(rows, A_PAGE)
    return show(
        request,
        caller,
        "audit.html",
        title="Audit",
        entries=[entry_out(row) for row in shown],
        wanted=wanted,
        following=write_cursor(place_of(shown[-1])) if more else None,
    )
