"""Reading the catalogue: for whose eyes, and answers out of items that are JSON already, built once an ETag and coding.

request, caller ─▶ Reading: a form ─▶ known? a 304, or the body that was built before ─▶ else read, put together, kept
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import orjson
from fastapi import Depends, Request
from fastapi.responses import Response

from app.api.auth import Caller, Viewer
from app.api.compression import encode_body
from app.api.encodings import wanted_coding
from app.api.kept_bodies import Body, KeptBodies
from app.api.public_addresses import PictureAddressesNeeded
from app.api.schemas import DatabaseNeeded
from app.api.validators import unchanged, validator_headers
from app.persistence.database import Connection, Database
from app.views.picture_addresses import PictureAddresses
from app.views.whole import Form, Json

JSON = "application/json"
Key = TypeVar("Key")


class Reading:
    """One read of the catalogue: by whom, from where, in which coding."""

    def __init__(self, request: Request, database: Database, addresses: PictureAddresses, caller: Caller) -> None:
        self.database = database
        self._request = request
        self._addresses = addresses
        self._caller = caller
        self._wanted = wanted_coding(request.headers.getlist("accept-encoding"))
        self._kept: KeptBodies = request.app.state.bodies

    def form(self, *, expanded: bool = True) -> Form:
        """The form with everything that the caller may see."""
        return Form(self._addresses, self._caller.sees_buying_prices, expanded=expanded)

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

    async def one(
        self,
        find: Callable[[Connection], Awaitable[Key]],
        etag_of: Callable[[Key], str],
        read: Callable[[Connection], Awaitable[tuple[Key, Json]]],
    ) -> Response:
        """The answer with one item: its key is looked up, and the item read only where its ETag is not known.

        `read` gives both of one moment: the item may have changed since its key was looked up.
        """
        async with self.database.quick() as db:
            known = self.known(etag_of(await find(db)))
            if known is not None:
                return known
            key, item = await read(db)
        return await self.new(item, etag_of(key))


async def get_reading(
    request: Request, database: DatabaseNeeded, addresses: PictureAddressesNeeded, caller: Viewer
) -> Reading:
    """The read that a request is."""
    return Reading(request, database, addresses, caller)


ReadingNeeded = Annotated[Reading, Depends(get_reading)]


def _answer(body: Body, etag: str) -> Response:
    coding = {} if body.coding is None else {"Content-Encoding": body.coding}
    return Response(body.data, media_type=JSON, headers={**validator_headers(etag), **coding})


def page_of(items: Sequence[Json], next_cursor: str | None) -> Json:
    """A page."""
    pieces = [piece for item in items for piece in (b",", *item)][1:]
    return [b'{"items":[', *pieces, b'],"nextCursor":', orjson.dumps(next_cursor), b"}"]
