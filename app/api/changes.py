"""The change feed, for a shop that follows along, and the categories.

read `head` ─▶ list the products ─▶ follow from that head: /changes?since=head
"""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from msgspec.structs import astuple
from pydantic import JsonValue

from app.api.auth import GuardedRoute, Viewer
from app.api.cursors import LARGEST_BIGINT, AfterCategory
from app.api.json_answer import OrjsonResponse, to_json
from app.api.ndjson import NDJSON, wants_lines
from app.api.paging import DEFAULT_LIMIT, Limit, Page, PagingNeeded, page_example
from app.api.problems import ProblemError, problem_answers
from app.api.schemas import DatabaseNeeded
from app.api.validators import NOT_MODIFIED, etag_of, unchanged, unchanged_page, validator_headers
from app.persistence import categories, change_feed
from app.persistence.change_feed import ChangeRow, FeedEnds
from app.views.changes import CHANGE, ChangePage, change_json
from app.views.shapes import Out, example

router = APIRouter(prefix="/api/v1", tags=["catalogue"], route_class=GuardedRoute)

Seq = Annotated[
    int | None,
    Query(ge=0, le=LARGEST_BIGINT, description="The last `seq` that was seen: what comes after it."),
]
SeqCursor = Annotated[
    int | None,
    Query(ge=0, le=LARGEST_BIGINT, description="`nextCursor` of the page before: as `since`, in its place."),
]
NDJSON_EXAMPLE = orjson.dumps(CHANGE).decode() + "\n"
CATEGORY: dict[str, JsonValue] = {
    "key": "BAGS/SHOPPING_BAGS",
    "name": {"nl": "Boodschappentassen", "de": "Einkaufstaschen"},
}


class Category(Out):
    """A category's path and its names by language."""

    model_config = example(**CATEGORY)
    key: str
    name: dict[str, str]


@router.get(
    "/changes",
    operation_id="listChanges",
    summary="The catalogue's changes in order",
    response_model=ChangePage,
    responses={
        200: {
            "content": {
                NDJSON: {"schema": {"type": "string", "description": "A change a line."}, "example": NDJSON_EXAMPLE}
            }
        },
        **NOT_MODIFIED,
        **problem_answers(410),
    },
)
async def list_changes(
    request: Request,
    database: DatabaseNeeded,
    _: Viewer,
    since: Seq = None,
    cursor: SeqCursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Response:
    """`since` (or `cursor`, which is the same) is the last number that was seen; without it the feed's beginning.

    `cursor` counts where both are there, so that whoever pages may keep its first parameters, as on every list.

    With `Accept: application/x-ndjson` a change a line; the header `X-Head` is the head then. A page that is asked for
    again with its ETag is a 304 until the head has moved.
    """
    asked, lines = since if cursor is None else cursor, wants_lines(request)
    async with database.read() as db:
        ends = await change_feed.feed_ends(db)
        begin = ends.pruned if asked is None else asked
        _refuse_outside(begin, ends, "since" if cursor is None else "cursor")
        # a change is never changed: where a page begins and where the feed ends says all that it can hold
        etag = etag_of("changes", begin, limit, ends.head, lines)
        known = unchanged(request, etag)
        if known is not None:
            return known
        rows = [] if begin == ends.head else await change_feed.changes_since(db, begin, limit)
    return _as_lines(rows, ends, etag) if lines else _as_page(rows, ends, etag)


def _as_lines(rows: list[ChangeRow], ends: FeedEnds, etag: str) -> Response:
    lines = b"".join(to_json(change_json(row)) + b"\n" for row in rows)
    return Response(lines, media_type=NDJSON, headers={"X-Head": str(ends.head), **validator_headers(etag)})


def _as_page(rows: list[ChangeRow], ends: FeedEnds, etag: str) -> Response:
    items = [change_json(row) for row in rows]
    body = {"items": items, "nextCursor": _next(rows, ends), "head": ends.head}
    return OrjsonResponse(body, headers=validator_headers(etag))


def _refuse_outside(begin: int, ends: FeedEnds, parameter: str) -> None:
    if begin > ends.head:
        # numbers never go back by themselves: whoever has seen a later one follows a database that was restored
        message = (
            f"is after the head, {ends.head}: nothing has that number yet; if it came from here, the database was "
            "restored: list the products again, and follow from that head"
        )
        errors = [{"field": parameter, "message": message}]
        raise ProblemError(422, f"{parameter} {message}", errors=errors, head=ends.head)
    if begin < ends.pruned:
        raise ProblemError(
            410,
            f"changes up to {ends.pruned} are forgotten: read head, list the products again, and follow from that head",
            head=ends.head,
            oldest=ends.pruned,
        )


def _next(rows: list[ChangeRow], ends: FeedEnds) -> str | None:
    """Null when the page reached the head; both were read in one snapshot, and the numbers have no holes."""
    last = rows[-1]["seq"] if rows else ends.head
    return None if last == ends.head else str(last)


@router.get(
    "/categories",
    operation_id="listCategories",
    summary="Categories by path",
    response_model=Page[Category],
    responses={**page_example(CATEGORY), **NOT_MODIFIED, **problem_answers()},
)
async def list_categories(
    request: Request, response: Response, database: DatabaseNeeded, _: Viewer, paging: PagingNeeded
) -> Page[Category] | Response:
    """Of the profile's category file; a profile without one has none."""
    after = paging.after(AfterCategory)
    async with database.quick() as db:
        rows = await categories.list_categories(db, after_key="" if after is None else after.key, limit=paging.rows)
    known = unchanged_page(request, response, "categories", paging.limit, [astuple(row) for row in rows])
    if known is not None:
        return known
    return paging.page(rows, lambda row: Category(key=row.key, name=dict(row.name)), lambda row: AfterCategory(row.key))
