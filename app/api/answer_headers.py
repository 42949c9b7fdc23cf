"""What every answer tells browsers and caches.

Take the type at its word; of pages, run and frame nothing that is not ours. What does not say itself how it may be kept
is not to be kept, and what is not for everybody depends on who asks, and for which form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # Swagger UI's arrows are data: in its style sheet
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
OF_ALL = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
OF_PAGES = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    # not no-referrer: a form would then be sent with `Origin: null`, which the local door refuses
    "Referrer-Policy": "same-origin",
}
VARY = ("Accept", "Authorization", "Cookie", "X-API-Key")
_OF_ONE_CALLER = re.compile(r"\b(private|no-store)\b")


class AnswerHeaders:
    """ASGI middleware that adds them; what an answer says itself stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_page = headers.get("content-type", "").startswith("text/html")
                for name, value in (OF_ALL | OF_PAGES if is_page else OF_ALL).items():
                    headers.setdefault(name, value)
                if _OF_ONE_CALLER.search(headers["cache-control"]):
                    add_to_vary(headers, VARY)
            await send(message)

        await self._app(scope, receive, told)


def add_to_vary(headers: MutableHeaders, names: Iterable[str]) -> None:
    """Name what else an answer depends on, each once."""
    named = [part.strip() for value in headers.getlist("vary") for part in value.split(",") if part.strip()]
    known = {part.lower() for part in named}
    if "*" not in known:
        headers["Vary"] = ", ".join([*named, *(name for name in names if name.lower() not in known)])
