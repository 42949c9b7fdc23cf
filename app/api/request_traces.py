"""Each request as traces and logs see it: an id, a span, and the ids in every line that is logged meanwhile.

    X-Request-Id (else a new one), traceparent (else a trace of its own) ─▶ the application ─▶ a given id back

A span is named by the route's template: nothing of the path, the query or the headers is in it.
"""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from app import traces
from app.api.middleware import HttpMiddleware
from app.logs import about
from app.traces import Span

REQUEST_ID = "X-Request-Id"
GIVEN_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""What is taken over from a caller: it goes into logs and back as a header."""
UNTRACED_PATHS = ("/healthz", "/readyz", "/metrics")
"""What is asked for every few seconds, and would be most of all traces."""
_ASKED = "promidata.asked"


class Asked:
    """What becomes known of a request on its way."""

    def __init__(self) -> None:
        self.key: str | None = None


def note_key(request: Request, name: str) -> None:
    """Whose key came with the request."""
    request.scope[_ASKED].key = name


def key_of(scope: Scope) -> str | None:
    """The name of the key that came with the request; None before it is known, or without one."""
    asked: Asked = scope[_ASKED]
    return asked.key


def route_of(scope: Scope) -> str | None:
    """The template of the route that answered, once it has; None where there is none."""
    route = scope.get("route")
    template: str | None = getattr(route, "path_format", getattr(route, "path", None))
    return template


def _note_status(span: Span, status: int) -> None:
    span.note(status=status)
    if status >= 500:
        span.failed(str(status))


class RequestTraces(HttpMiddleware):
    """ASGI middleware that gives a request its id and its span."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See HttpMiddleware."""
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        taken = GIVEN_ID.fullmatch(given) is not None
        request_id = given if taken else uuid4().hex
        scope[_ASKED] = Asked()
        with about(request=request_id), self._span(scope, headers, request_id) as span:

            async def identified(message: Message) -> None:
                if message["type"] == "http.response.start":
                    if taken:  # a new one would make every answer another, HEAD's than GET's, too
                        MutableHeaders(scope=message).setdefault(REQUEST_ID, request_id)
                    _note_status(span, message["status"])
                await send(message)

            try:
                await self._app(scope, receive, identified)
            finally:
                route = route_of(scope)
                span.rename(f"{scope['method']} {route}" if route else scope["method"])
                span.note(route=route, key=key_of(scope))

    @staticmethod
    def _span(scope: Scope, headers: Headers, request_id: str) -> Span:
        if scope["path"].endswith(UNTRACED_PATHS):
            return traces.UNTRACED
        method = scope["method"]
        return traces.span(
            method, parent=headers.get("traceparent", ""), kind="server", method=method, request=request_id
        )
