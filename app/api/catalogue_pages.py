"""Answers out of items that are JSON already."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from fastapi.responses import Response

from app.api.validators import validator_headers

JSON = "application/json"


def page_of(items: Sequence[bytes], next_cursor: str | None, etag: str) -> Response:
    """A page."""
    body = b'{"items":[%s],"nextCursor":%s}' % (b",".join(items), orjson.dumps(next_cursor))
    return Response(body, media_type=JSON, headers=validator_headers(etag))


def one_of(item: bytes, etag: str) -> Response:
    """One item."""
    return Response(item, media_type=JSON, headers=validator_headers(etag))
