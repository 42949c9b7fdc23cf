"""The connection test of the feed."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from app.api.answer_in_time import asking_the_feed
from app.api.auth import GuardedRoute, Viewer
from app.api.problems import problem_answers
from app.api.schemas import ServicesNeeded
from app.sync.operating.discovery import check_feed
from app.views.shapes import Out, example

router = APIRouter(prefix="/api/v1/feed", tags=["suppliers"], route_class=GuardedRoute)


class SupplierEntries(Out):
    """How many documents of a supplier the manifest names."""

    code: str
    entries: int


class FeedAnswer(Out):
    """What the manifest holds."""

    model_config = example(ok=True, entries=60, suppliers=[{"code": "A360", "entries": 60}], invalid=0)
    ok: bool
    entries: int
    suppliers: list[SupplierEntries]
    invalid: int


@router.get(
    "/check",
    operation_id="checkFeed",
    summary="Test the connection to the feed",
    responses=problem_answers(502),
    dependencies=[Depends(asking_the_feed)],
)
async def check(services: ServicesNeeded, _: Viewer) -> FeedAnswer:
    """Reads the manifest and stores nothing; 502 says why it cannot be had."""
    found = await check_feed(services)
    suppliers = [SupplierEntries(code=supplier.code, entries=supplier.entries) for supplier in found.suppliers]
    return FeedAnswer(ok=found.ok, entries=found.entries, suppliers=suppliers, invalid=found.invalid)
