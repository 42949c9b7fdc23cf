"""The catalogue as NDJSON: every product that a filter means, one a line, as of one moment.

    If-None-Match? a look ─▶ known: 304, whoever else is reading
                        └▶ snapshot ─▶ X-Changes-Head, ETag ─▶ some products read ─▶ lines sent ─▶ some more ... ─▶ end
                            └ no place within 5 s: 503      a client that does not read for 30 s, or an hour: cut off

A body that was cut off has no proper end, so whoever reads it knows that something is missing. Memory holds some
products, whatever the catalogue's size; other requests come in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from fastapi.responses import Response
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send
from structlog import get_logger

from app.api.encodings import Encoder, encoder_of, in_passing, wanted_coding, weights_of
from app.api.pacing import Pace, Pacing
from app.api.validators import etag_of, unchanged, validator_headers
from app.persistence import change_feed, exports
from app.persistence.database import Connection, Database
from app.persistence.product_lists import ProductFilter, ProductKey, Sort
from app.views.catalogue import Batch, read_products
from app.views.whole import Form, Json

log = get_logger()

NDJSON = "application/x-ndjson"
JSON_AND_WIDER = ("application/json", "application/*", "*/*")
"""What JSON may be named by; the narrowest that is there says how much it is liked (RFC 9110, 12.5.1)."""
STALL_S = 30
"""A client that takes nothing for so long is cut off."""
WHOLE_S = 3600
"""And any other after so long, since old row versions are kept for it meanwhile."""
RESTS_FOR_S = WHOLE_S / 2
"""So long it gives way to syncs; the rest of the hour is for getting to its end."""
PLACE_WITHIN_S = 5.0
"""For who finds all places taken: small exports follow each other, a large one does not end in time."""
FIRST, AT_A_TIME = 10, 100
"""Products read with one set of statements: a few at first, so that the first line is there at once."""
PIECE_BYTES = 1024 * 1024
"""Of lines, sent together: some eight real products."""
SENT_BYTES = 512 * 1024
"""Encoded, sent as soon as there are so many: what a client has to take within STALL_S."""


def wants_lines(request: Request) -> bool:
    """Whether a caller names NDJSON, and does not like JSON better."""
    weights = weights_of(",".join(request.headers.getlist("accept")))
    of_json = next((weights[named] for named in JSON_AND_WIDER if named in weights), 0.0)
    return 0 < weights.get(NDJSON, 0.0) >= of_json


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
        self._pacing: Pacing = request.app.state.pacing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            SnapshotsTaken: too many at once.
            DatabaseUnavailable: PostgreSQL is away; after the first line, the body ends early.
        """
        known = await self._known()
        if known is not None:
            await known(scope, receive, send)
            return
        coding = wanted_coding(self._request.headers.getlist("accept-encoding"))
        async with (
            self._database.snapshot(idle_s=2 * STALL_S, place_within_s=PLACE_WITHIN_S) as db,
            self._pacing.exporting(RESTS_FOR_S) as pace,
        ):
            lines = _Lines(send, encoder_of(coding), pace)
            headers = await self._validated(db)
            await send(_start({**headers, "Content-Encoding": coding} if coding else headers))
            if not await self._sent_lines(db, receive, lines):
                return
        # The end is sent when the place is free again: whoever has read it finds one for its next call.
        await self._send_end(lines)

    async def _known(self) -> Response | None:
        """The 304, of one moment as all it says; the look takes none of the few places that snapshots have."""
        if "if-none-match" not in self._request.headers:
            return None
        async with self._database.read() as db:
            headers = await self._validated(db)
        known = unchanged(self._request, headers["ETag"])
        if known is not None:
            known.headers.update(headers)
        return known

    async def _validated(self, db: Connection) -> dict[str, str]:
        head = (await change_feed.feed_ends(db)).head
        state = await exports.state_of(db, self._wanted.which)
        etag = etag_of("export", state, self._wanted.sort, self._wanted.form.stamp)
        return {**validator_headers(etag), "X-Changes-Head": str(head), "Content-Type": NDJSON}

    async def _sent_lines(self, db: Connection, receive: Receive, lines: _Lines) -> bool:
        """Whether all are sent; else the reader went away or is too slow."""
        gone = asyncio.create_task(_until_gone(receive))
        try:
            async with asyncio.timeout(WHOLE_S), aclosing(self._batches(db)) as batches:
                async for batch in batches:
                    for number in range(len(batch)):
                        await lines.add(partial(batch.json_of, number))
                        if gone.done():
                            return False
                    await lines.flush()
        except TimeoutError:
            _log_cut_off()
            return False
        else:
            return True
        finally:
            gone.cancel()

    async def _send_end(self, lines: _Lines) -> None:
        try:
            await lines.end()
        except TimeoutError:
            _log_cut_off()

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


def _log_cut_off() -> None:
    log.warning("an export was cut off: it stood still or took too long", stall_s=STALL_S, whole_s=WHOLE_S)


def _start(headers: Mapping[str, str]) -> Message:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": pairs}


class _Lines:
    """The body on its way: each line is encoded while it is in the processor's cache, some are sent together."""

    def __init__(self, send: Send, encoder: Encoder, pace: Pace) -> None:
        self._send = send
        self._encoder = encoder
        self._pace = pace
        self._owes_rest = False
        self._encoded: list[bytes] = []
        self._bytes = self._encoded_bytes = 0

    async def add(self, make: Callable[[], Json]) -> None:
        """Add a line; after some of them they are sent."""
        if self._owes_rest:
            self._owes_rest = False
            await self._pace.rest()
        self._pace.read(1)
        with self._pace:
            line = b"".join((*make(), b"\n"))
        encoded = await in_passing(self._encoder, self._encode, line)
        self._encoded.append(encoded)
        await asyncio.sleep(0)  # others', and what was read meanwhile: the next products come in many pieces
        self._bytes += len(line)
        self._encoded_bytes += len(encoded)
        if self._bytes > PIECE_BYTES or self._encoded_bytes > SENT_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send what was added; what follows, if anything does, is for after a rest."""
        if self._encoded:
            with self._pace:
                piece = b"".join((*self._encoded, self._encoder.flush()))
            await self._send_piece(piece, more=True)
            self._encoded, self._bytes, self._encoded_bytes = [], 0, 0
            self._owes_rest = True

    def _encode(self, line: bytes) -> bytes:
        with self._pace:
            return self._encoder.add(line)

    async def end(self) -> None:
        """Send the end."""
        await self._send_piece(self._encoder.end(b""), more=False)

    async def _send_piece(self, piece: bytes, *, more: bool) -> None:
        async with asyncio.timeout(STALL_S):
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
