"""Bodies without a length for callers of HTTP/1.0, who know no chunks (RFC 9112, 6.1): they end with their connection.

    start without a length ─▶ no chunks, and closing would be a reset ─▶ pieces as they are ─▶ the last: closed in peace

A body that is cut off, by whatever, so ends with a reset: by its end alone nobody could tell it from a whole one.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from functools import partial

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class UntilClosed:
    """An application whose answer `cycle` sends."""

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle
        self._has_length = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._app(scope, receive, partial(self._send, send))

    async def _send(self, send: Send, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_length = "content-length" in Headers(raw=message["headers"])
            if not self._has_length:
                self._cycle.chunked_encoding = False
                _reset_when_closed(self._cycle.transport, reset=True)
        elif not self._has_length:
            self._cycle.expected_content_length = len(message.get("body", b""))
            if not message.get("more_body", False):
                _reset_when_closed(self._cycle.transport, reset=False)
        await send(message)


def _reset_when_closed(transport: asyncio.Transport, *, reset: bool) -> None:
    if transport.is_closing():  # the caller is gone, its socket perhaps too
        return
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
