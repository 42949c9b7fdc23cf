"""The access log (ACCESS_LOG): a JSON line a request on standard error, when its answer has left.

It is JSON on a terminal too, and at every LOG_LEVEL: who turns it on wants it whole. The query is not in it, and the
path is masked as addresses are elsewhere; the route's template says what was asked for.
"""

from __future__ import annotations

import sys
import time

import structlog
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware import HttpMiddleware
from app.api.request_traces import key_of, route_of
from app.logs import add_ids, add_trace, mask_path

PROCESSORS = (
    add_ids,
    add_trace,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.JSONRenderer(),
)


class AccessLog(HttpMiddleware):
    """ASGI middleware that writes it."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See HttpMiddleware."""
        begun, status, sent_bytes = time.perf_counter(), None, 0

        async def counted(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)
            sent_bytes += len(message.get("body", b""))

        try:
            await self._app(scope, receive, counted)
        finally:
            _write(scope, status, sent_bytes, time.perf_counter() - begun)


def _write(scope: Scope, status: int | None, sent_bytes: int, duration_s: float) -> None:
    """`status` None is a caller that left before the answer began."""
    client = scope.get("client")
    structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=PROCESSORS).msg(
        "access",
        level="info",
        method=scope["method"],
        route=route_of(scope),
        path=mask_path(scope["path"]),
        status=status,
        duration_ms=round(duration_s * 1000, 1),
        bytes=sent_bytes,
        client=client[0] if client else None,
        key=key_of(scope),
    )
