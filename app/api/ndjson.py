"""The catalogue as NDJSON: every product that a filter means, one a line, as of one moment.

    snapshot ─▶ X-Changes-Head, ETag ─▶ known? 304 ─▶ some products read ─▶ lines sent ─▶ some more ... ─▶ end
        └ as many as may be: 503                           a client that does not read for 30 s, or an hour: cut off

A body that was cut off has no proper end, so whoever reads it knows that something is missing. Memory holds some
products, whatever the catalogue's size; other requests come in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from fastapi.responses import Response
from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from structlog import get_logger

from app.api.validators import etag_of, unchanged, validator_headers
from app.persistence import change_feed, exports
from app.persistence.database import Connection, Database
from app.persistence.product_lists import ProductFilter, ProductKey, Sort
from app.views.catalogue import Batch, read_products
from app.views.whole import Form

log = get_logger()

NDJSON = "application/x-ndjson"
STALL_S = 30
"""A client that takes nothing for so long is cut off."""
WHOLE_S = 3600
"""And any other after so long, since old row versions are kept for it meanwhile."""
FIRST, AT_A_TIME = 10, 100
"""Products read with one set of statements: a few at first, so that the first line is there at once."""
PIECE_BYTES = 512 * 1024
"""Put together and sent before others have their turn: some five real products, a few milliseconds."""


def wants_lines(request: Request) -> bool:
    """Whether a caller wants NDJSON."""
    return NDJSON in request.headers.get("accept", "").lower()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported."""

    which: ProductFilter
    sort: Sort
    form: Form


class Export(Response):
    """An answer that is read from the database while it is sent."""

    media_type = NDJSON

    def __init__(self, request: Request, database: Database, wanted: Wanted) -> None:
        super().__init__()
        self._request = request
        self._database = database
        self._wanted = wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            SnapshotsTaken: too many at once.
            DatabaseUnavailable: PostgreSQL is away; after the first line, the body ends early.
        """
        async with self._database.snapshot(idle_s=2 * STALL_S) as db:
            headers = await self._validated(db)
            known = unchanged(self._request, headers["ETag"])
            if known is not None:
                known.headers.update(headers)
                await known(scope, receive, send)
                return
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
                }
            )
            await self._send_lines(db, receive, send)

    async def _validated(self, db: Connection) -> dict[str, str]:
        head = (await change_feed.feed_ends(db)).head
        state = await exports.state_of(db, self._wanted.which)
        etag = etag_of("export", state, self._wanted.sort, self._wanted.form.stamp)
        return {**validator_headers(etag), "X-Changes-Head": str(head), "Content-Type": NDJSON}

    async def _send_lines(self, db: Connection, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_until_gone(receive))
        try:
            async with asyncio.timeout(WHOLE_S), aclosing(self._batches(db)) as batches:
                async for batch in batches:
                    for piece in _pieces(batch):
                        if gone.done():
                            return
                        await _send_piece(send, piece, more=True)
                await _send_piece(send, b"", more=False)
        except TimeoutError:
            log.warning("an export was cut off: its reader is too slow", stall_s=STALL_S, whole_s=WHOLE_S)
        finally:
            gone.cancel()

    async def _batches(self, db: Connection) -> AsyncGenerator[Batch]:
        """Some products after the others; the next ones are read while these are put together and sent."""
        chunks = exports.in_chunks(db, self._wanted.which, sort=self._wanted.sort, first=FIRST, then=AT_A_TIME)
        reading = asyncio.create_task(self._read(db, chunks))
        try:
            while (batch := await reading) is not None:
                reading = asyncio.create_task(self._read(db, chunks))
                yield batch
        finally:
            await asyncio.wait([reading])  # not cancelled: its connection is used once more, to end the transaction

    async def _read(self, db: Connection, chunks: AsyncIterator[Sequence[ProductKey]]) -> Batch | None:
        keys = await anext(chunks, None)
        return None if keys is None else await read_products(db, keys, self._wanted.form)


def _pieces(batch: Batch) -> Iterator[bytes]:
    """Lines, so many at a time that others have their turn in between."""
    lines: list[bytes] = []
    size = 0
    for number in range(len(batch)):
        line = batch.json_of(number)
        lines += *line, b"\n"
        size += sum(map(len, line))
        if size > PIECE_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


async def _send_piece(send: Send, piece: bytes, *, more: bool) -> None:
    async with asyncio.timeout(STALL_S):
        await send({"type": "http.response.body", "body": piece, "more_body": more})
    await asyncio.sleep(0)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
