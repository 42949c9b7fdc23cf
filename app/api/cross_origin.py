"""Pages of listed origins may read the API from a browser (CORS_ORIGINS); nobody else's may.

No cookie goes along, whatever the origin: a caller from another origin is known by its key.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
SENT = ("Accept", "Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "X-API-Key")
SHOWN = ("ETag", "Idempotency-Key", "Retry-After", "WWW-Authenticate", "X-Changes-Head", "X-Head")
REMEMBERED_S = 600


def for_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """The application, open to pages of these origins; without any it is as it was."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=SENT,
        allow_credentials=False,
        expose_headers=SHOWN,
        max_age=REMEMBERED_S,
    )
