"""Answers out of items that are JSON already."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from fastapi.responses import Response

from app.api.validators import validator_headers
from app.views.whole import Json

JSON = "application/json"


def page_of(items: Sequence[Json], next_cursor: str | None, etag: str) -> Response:
    """A page."""
    pieces = [piece for item in items for piece in (b",", *item)][1:]
    body = [b'{"items":[', *pieces, b'],"nextCursor":', orjson.dumps(next_cursor), b"}"]
    return Response(b"".join(body), media_type=JSON, headers=validator_headers(etag))


def one_of(item: Json, etag: str) -> Response:
    """One item."""
    return Response(b"".join(item), media_type=JSON, headers=validator_headers(etag))
