"""HEAD wherever there is GET: answered as a GET whose body is not sent, and which ends with its headers if it streams.

    HEAD ─▶ as GET ─▶ the headers ─▶ sent ─▶ a body that is whole: dropped
                                             one that goes on: its making is cancelled

Routes name GET alone, so that the description holds every operation once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.middleware import HttpMiddleware


class HeadAsGet(HttpMiddleware):
    """ASGI middleware that answers HEAD."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See HttpMiddleware."""
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}
        try:
            await _answer_head(self._app, asked, receive, send)
        finally:
            scope["route"] = asked.get("route")


async def _answer_head(app: ASGIApp, asked: Scope, receive: Receive, send: Send) -> None:
    """Answer with the headers of `app`, and end it once it has said them and would go on."""
    over = asyncio.Event()

    async def headed(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})
            if "content-length" not in Headers(raw=message["headers"]):
                over.set()
        elif message.get("more_body", False):
            over.set()
        if over.is_set():
            await asyncio.Event().wait()  # until it is cancelled

    answering = asyncio.ensure_future(app(asked, receive, headed))
    ending = asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait([answering, ending], return_when=asyncio.FIRST_COMPLETED)
    finally:
        ending.cancel()
        if not answering.done():
            answering.cancel()
    with suppress(asyncio.CancelledError):
        await answering
