"""Answers of over a kilobyte go out compressed where their caller takes that, streams as well.

    start ─▶ can it be compressed? ─▶ held until the first of the body is there ─▶ over 1 KB? ─▶ encoded
               └ no, or an event stream: as it is                                   └ no: as it is

Every piece of a stream can be read as soon as it is sent. What takes more than a moment is encoded on a thread, which
zlib-ng and zstd leave the interpreter free for; a stream keeps no more than its encoder's window. Not
starlette-compress: it passes over the order that a caller names codings in, encodes on the event loop, and brings
brotli (docs/decisions/0020).
"""

from __future__ import annotations

import math

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from app.api.answer_headers import add_to_vary
from app.api.encodings import Encoder, encoder_of, in_passing, wanted_coding
from app.api.kept_bodies import Body
from app.api.middleware import HttpMiddleware

OVER_BYTES = 1000
TEXTS = frozenset({"application/json", "application/x-ndjson", "application/javascript", "image/svg+xml"})
LIVE = "text/event-stream"
NO_WHOLE_BODY = frozenset({204, 206, 304})


class Compression(HttpMiddleware):
    """ASGI middleware that compresses answers."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See HttpMiddleware."""
        coding = wanted_coding(Headers(scope=scope).getlist("accept-encoding"))
        await self._app(scope, receive, _Answer(coding, send).pass_on)


class _Answer:
    """One answer on its way."""

    def __init__(self, coding: str | None, send: Send) -> None:
        self._coding = coding
        self._send = send
        self._held: Message | None = None
        self._encoder: Encoder | None = None

    async def pass_on(self, message: Message) -> None:
        """Take the application's next message."""
        if message["type"] == "http.response.start":
            await self._take_start(message)
            return
        if self._held is not None:
            start, self._held = self._held, None
            message = await self._encode_first(start, message)
            await self._send(start)
        elif self._encoder is not None:
            message = await self._encode(self._encoder, message)
        await self._send(message)

    async def _take_start(self, start: Message) -> None:
        headers = MutableHeaders(scope=start)
        can_be = is_compressible(start["status"], headers)
        # a 304 stands for an answer that could be; what is encoded already was so for this caller
        if can_be or start["status"] == 304 or "content-encoding" in headers:
            add_to_vary(headers, ["Accept-Encoding"])
        if can_be:
            self._held = start
        else:
            await self._send(start)

    async def _encode_first(self, start: Message, message: Message) -> Message:
        """The first of the body as it goes out; `start` is changed to what it says of it."""
        headers = MutableHeaders(scope=start)
        if self._coding is None or _size(headers, message) <= OVER_BYTES:
            return message
        self._encoder = encoder_of(self._coding)
        _say_encoded(headers, self._coding)
        encoded = await self._encode(self._encoder, message)
        if not message.get("more_body", False):
            headers["Content-Length"] = str(len(encoded["body"]))
        return encoded

    async def _encode(self, encoder: Encoder, message: Message) -> Message:
        more = message.get("more_body", False)
        data = message.get("body", b"")
        body = await in_passing(encoder, encoder.add if more else encoder.end, data)
        return {**message, "body": body + encoder.flush() if more else body}


async def encode_body(data: bytes, coding: str | None) -> Body:
    """A whole body in a coding that its caller takes, or as it is where that does it no good."""
    if coding is None or len(data) <= OVER_BYTES:
        return Body(data, None)
    encoder = encoder_of(coding)
    return Body(await in_passing(encoder, encoder.end, data), coding)


def is_compressible(status: int, headers: Headers) -> bool:
    """Whether compressing an answer would do it good, whatever its size."""
    if status < 200 or status in NO_WHOLE_BODY or "content-encoding" in headers:
        return False
    if "no-transform" in headers.get("cache-control", "").lower():
        return False
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_text = media_type.startswith("text/") or media_type in TEXTS or media_type.endswith("+json")
    return is_text and media_type != LIVE


def _size(headers: Headers, message: Message) -> float:
    """How many bytes an answer has; infinite for a stream that does not say."""
    if not message.get("more_body", False):
        return len(message.get("body", b""))
    announced = headers.get("content-length", "")
    return int(announced) if announced.isdigit() else math.inf


def _say_encoded(headers: MutableHeaders, coding: str) -> None:
    """A strong ETag is of other bytes than these, a weak one of what they mean; parts would be of other bytes, too."""
    headers["Content-Encoding"] = coding
    etag = headers.get("etag")
    if etag is not None and not etag.startswith("W/"):
        headers["ETag"] = f"W/{etag}"
    del headers["Content-Length"]
    del headers["Accept-Ranges"]
