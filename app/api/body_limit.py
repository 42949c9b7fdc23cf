"""A cap on request bodies, announced or not."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware import HttpMiddleware
from app.api.problems import problem_response

MAX_BODY_BYTES = 1024 * 1024
TOO_LARGE = f"the body is larger than {MAX_BODY_BYTES} bytes"


class BodyLimit(HttpMiddleware):
    """ASGI middleware that answers 413, before reading anything where the length is announced."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See HttpMiddleware."""
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced[:20]) > MAX_BODY_BYTES:
            await problem_response(413, TOO_LARGE)(scope, receive, send)
            return
        await self._app(scope, _counted(receive), send)


def _counted(receive: Receive) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, TOO_LARGE)
        return message

    return counted
