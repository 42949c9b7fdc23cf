"""Answers out of items that are JSON already, built once for each ETag and coding."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from fastapi import Request
from fastapi.responses import Response

from app.api.compression import encode_body
from app.api.encodings import wanted_coding
from app.api.kept_bodies import Body, KeptBodies
from app.api.validators import unchanged, validator_headers
from app.views.whole import Json

JSON = "application/json"


class Answers:
    """What one request is answered with."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._wanted = wanted_coding(request.headers.getlist("accept-encoding"))
        self._kept: KeptBodies = request.app.state.bodies

    def known(self, etag: str) -> Response | None:
        """The 304 for a caller that has what this ETag stands for, or the body that was built before; else None."""
        answer = unchanged(self._request, etag)
        if answer is not None:
            return answer
        body = self._kept.find(etag, self._wanted)
        return None if body is None else _answer(body, etag)

    async def new(self, json: Json, etag: str) -> Response:
        """The answer with what was just built; encoding it takes a moment, so no connection is held meanwhile."""
        body = await encode_body(b"".join(json), self._wanted)
        self._kept.keep(etag, self._wanted, body)
        return _answer(body, etag)


def _answer(body: Body, etag: str) -> Response:
    coding = {} if body.coding is None else {"Content-Encoding": body.coding}
    return Response(body.data, media_type=JSON, headers={**validator_headers(etag), **coding})


def page_of(items: Sequence[Json], next_cursor: str | None) -> Json:
    """A page."""
    pieces = [piece for item in items for piece in (b",", *item)][1:]
    return [b'{"items":[', *pieces, b'],"nextCursor":', orjson.dumps(next_cursor), b"}"]
