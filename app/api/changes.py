"""The change feed, for a shop that follows along, and the categories.

read `head` ─▶ list the products ─▶ follow from that head: /changes?since=head
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from msgspec.structs import astuple
from pydantic import BeforeValidator, JsonValue

from app.api.auth import GuardedRoute, Viewer
from app.api.cursors import LARGEST_BIGINT, AfterCategory
from app.api.json_answer import OrjsonResponse, to_json
from app.api.ndjson import NDJSON, wants_lines
from app.api.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, PagingNeeded, page_example
from app.api.problems import ProblemError, problem_answers
from app.api.schemas import DatabaseNeeded, Digits
from app.api.validators import NOT_MODIFIED, etag_of, unchanged, unchanged_page, validator_headers
from app.persistence import categories, change_feed
from app.persistence.change_feed import ChangeRow, FeedEnds
from app.persistence.database import Database
from app.views.changes import CHANGE, ChangePage, change_json
from app.views.shapes import Out, example

router = APIRouter(prefix="/api/v1", tags=["catalogue"], route_class=GuardedRoute)

Seq = Annotated[
    int | None,
    Query(ge=0, le=LARGEST_BIGINT, description="The last `seq` that was seen: what comes after it."),
    Digits,
]
SeqCursor = Annotated[
    int | None,
    Query(
        ge=0,
        le=LARGEST_BIGINT,
        description="`nextCursor` of the page before: as `since`, in its place. Empty: as if it was not there.",
    ),
    Digits,
    BeforeValidator(lambda given: given or None),  # on every list an empty cursor names no page
]
Limit = Annotated[
    int,
    Query(ge=1, le=MAX_LIMIT, description="How many at most; as lines, where it is not there, all of them."),
    Digits,
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
            },
            "headers": {
                "X-Head": {
                    "description": "With NDJSON: the `seq` of the feed's end, as `head` of a page.",
                    "schema": {"type": "integer"},
                }
            },
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

    With `Accept: application/x-ndjson` a change a line, without `limit` all up to the head of this moment, which is the
    header `X-Head`. A page that is asked for again with its ETag is a 304 until the head has moved, and so are lines.
    """
    asked, lines = since if cursor is None else cursor, wants_lines(request)
    everything = lines and "limit" not in request.query_params
    most = MAX_LIMIT if everything else limit
    async with database.read() as db:
        ends = await change_feed.feed_ends(db)
        begin = ends.pruned if asked is None else asked
        _refuse_outside(begin, ends, "since" if cursor is None else "cursor")
        # a change is never changed: where a page begins and where the feed ends says all that it can hold; the time
        # tells the end from one of that number before a restore
        etag = etag_of("changes", begin, None if everything else limit, ends.head, ends.head_at, lines)
        known = unchanged(request, etag)
        if known is not None:
            return known
        rows = [] if begin == ends.head else await change_feed.changes_since(db, begin, most)
    if not lines:
        return _as_page(rows, ends, etag)
    headers = {"X-Head": str(ends.head), **validator_headers(etag)}
    if everything and _next(rows, ends) is not None:
        return StreamingResponse(_to_the_head(database, rows, ends.head), media_type=NDJSON, headers=headers)
    return Response(_lines(rows), media_type=NDJSON, headers=headers)


def _lines(rows: list[ChangeRow]) -> bytes:
    return b"".join(to_json(change_json(row)) + b"\n" for row in rows)


async def _to_the_head(database: Database, rows: list[ChangeRow], head: int) -> AsyncIterator[bytes]:
    """These, and page by page what follows, so that no connection is kept for a caller that reads slowly.

    Raises:
        ProblemError: what comes next was forgotten meanwhile; the body ends early then, as whoever reads it is told.
    """
    yield _lines(rows)
    last: int = rows[-1]["seq"]
    while last < head:
        async with database.quick() as db:
            rows = await change_feed.changes_since(db, last, min(MAX_LIMIT, head - last))
        last += len(rows)
        if not rows or rows[-1]["seq"] != last:  # numbers have no holes but where the retention makes them
            raise ProblemError(410, "changes were forgotten before they were read: list the products again")
        yield _lines(rows)


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
