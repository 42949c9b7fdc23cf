"""What every answer tells browsers: take the type at its word, and of pages, run and frame nothing that is not ours."""

from __future__ import annotations

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
OF_ALL = {"X-Content-Type-Options": "nosniff"}
OF_PAGES = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    # not no-referrer: a form would then be sent with `Origin: null`, which the local door refuses
    "Referrer-Policy": "same-origin",
}


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
            await send(message)

        await self._app(scope, receive, told)
