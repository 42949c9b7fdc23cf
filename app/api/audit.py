"""The audit trail: who did what to what, the newest first; a page at a time, or all of it as lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from app.api.auth import Admin, GuardedRoute
from app.api.cursors import AfterEntry, Cursor, from_micros, read_cursor, to_micros
from app.api.json_answer import to_json
from app.api.ndjson import NDJSON, wants_lines
from app.api.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, Paging, page_example
from app.api.problems import problem_answers
from app.api.schemas import DatabaseNeeded, Digits, Word
from app.persistence.audit import AuditFilter, AuditRow, list_entries
from app.persistence.database import Database
from app.views.audit import ENTRY, AuditEntry, entry_out
from app.views.moments import Moment
from app.views.shapes import shown_json

router = APIRouter(prefix="/api/v1/audit", tags=["audit"], route_class=GuardedRoute)

NDJSON_EXAMPLE = orjson.dumps(ENTRY).decode() + "\n"
LINES = {"schema": {"type": "string", "description": "An entry a line."}, "example": NDJSON_EXAMPLE}
AtMost = Annotated[
    int | None,
    Query(ge=1, le=MAX_LIMIT, description=f"How many at most; {DEFAULT_LIMIT}, as lines all of them."),
    Digits,
]
Position = tuple[datetime, int]


@router.get(
    "",
    operation_id="listAudit",
    summary="Who did what, the newest first",
    response_model=Page[AuditEntry],
    responses={
        200: {"content": {**page_example(ENTRY)[200]["content"], NDJSON: LINES}},
        **problem_answers(403),
    },
)
async def list_audit(
    *,
    request: Request,
    database: DatabaseNeeded,
    _: Admin,
    actor: Annotated[Word | None, Query(description="Who it was: a key's name.")] = None,
    action: Annotated[Word | None, Query(description="An operation's id, such as `startSync`.")] = None,
    target: Annotated[Word | None, Query(description="What it was about: a supplier's code, an id, a queue.")] = None,
    since: Annotated[Moment | None, Query(description="At this time or later.")] = None,
    until: Annotated[Moment | None, Query(description="Before this time.")] = None,
    limit: AtMost = None,
    cursor: Cursor = None,
) -> Page[AuditEntry] | Response:
    """Entries from `since` on and before `until`. `action` is an operation's id, `target` what it was about.

    With `Accept: application/x-ndjson` an entry a line, all of them without `limit`.
    """
    wanted, before = AuditFilter(actor, action, target, since, until), position_of(cursor)
    if wants_lines(request):
        lines = _lines(database, wanted, before, limit)
        first = await anext(lines, b"")  # an error of the database is still an answer here
        return StreamingResponse(_from(first, lines), media_type=NDJSON)
    paging = Paging(limit or DEFAULT_LIMIT, cursor)
    async with database.quick() as db:
        rows = await list_entries(db, wanted, before=before, limit=paging.rows)
    return paging.page(rows, entry_out, place_of)


def position_of(cursor: str | None) -> Position | None:
    """Where a page of entries begins."""
    after = read_cursor(AfterEntry, cursor)
    return None if after is None else (from_micros(after.micros), after.id)


def place_of(row: AuditRow) -> AfterEntry:
    """Where the page after this entry begins."""
    return AfterEntry(to_micros(row["at"]), row["id"])


async def _lines(
    database: Database, wanted: AuditFilter, before: Position | None, limit: int | None
) -> AsyncIterator[bytes]:
    """Page by page, so that no connection is kept for a caller that reads slowly."""
    while True:
        async with database.quick() as db:
            rows = await list_entries(db, wanted, before=before, limit=limit or MAX_LIMIT)
        if not rows:
            return
        yield b"".join(to_json(shown_json(entry_out(row))) + b"\n" for row in rows)
        if limit is not None:
            return
        before = (rows[-1]["at"], rows[-1]["id"])


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
