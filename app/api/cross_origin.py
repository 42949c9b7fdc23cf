"""Pages of listed origins may read the API from a browser (CORS_ORIGINS); nobody else's may.

No cookie goes along, whatever the origin: a caller from another origin is known by its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from app.api.problems import problem_response

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
SENT = (
    *("Accept", "Authorization", "Content-Type", "Idempotency-Key"),
    *("If-Match", "If-None-Match", "Last-Event-ID", "X-API-Key", "X-Request-Id"),
)
SHOWN = ("ETag", "Idempotency-Key", "Retry-After", "WWW-Authenticate", "X-Changes-Head", "X-Head", "X-Request-Id")
REMEMBERED_S = 600


class _Origins(CORSMiddleware):
    """Starlette's, whose refusals are problem documents as all others are."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """What a browser may send, or why not."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < HTTPStatus.BAD_REQUEST:
            return answer
        kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        return problem_response(answer.status_code, bytes(answer.body).decode(), headers=kept)


def for_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """The application, open to pages of these origins; without any it is as it was."""
    if not origins:
        return app
    return _Origins(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=SENT,
        allow_credentials=False,
        expose_headers=SHOWN,
        max_age=REMEMBERED_S,
    )
