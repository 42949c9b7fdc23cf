"""The door while no key is configured: callers on this machine only (API.md, "Around it").

A page in the user's own browser can send requests to loopback too, so two more things are looked at: `Host`, which a
name that was rebound to 127.0.0.1 would betray, and where a request that changes something came from.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem_response

READING = frozenset({"GET", "HEAD", "OPTIONS"})


class LocalDoor:
    """ASGI middleware that answers 403 to whoever is not local."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reason = refusal(scope) if scope["type"] == "http" else None
        if reason is None:
            await self._app(scope, receive, send)
        else:
            await problem_response(403, reason)(scope, receive, send)


def refusal(scope: Scope) -> str | None:
    """Why a request is refused, or None."""
    headers = Headers(scope=scope)
    ends = (scope.get("client"), scope.get("server"))
    if not all(_is_local_end(end) for end in ends):
        return "no API_KEYS are configured, so only callers on this machine are answered"
    if not is_loopback_name(_host_name(headers.get("host", ""))):
        return "no API_KEYS are configured, so Host must be a name of this machine's loopback, such as localhost"
    if scope["method"] not in READING and not _same_site(headers):
        return "a page of another site may not change anything here"
    return None


@lru_cache(maxsize=64)
def is_loopback_name(name: str) -> bool:
    """Whether a host name or address means this machine and nothing else.

    >>> is_loopback_name("127.0.0.1"), is_loopback_name("promi.example")
    (True, False)
    """
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_local_end(end: tuple[str, int | None] | None) -> bool:
    """An end without an address or port is a Unix socket, which file permissions guard."""
    return end is None or end[1] is None or is_loopback_name(end[0])


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_site(headers: Headers) -> bool:
    fetch_site = headers.get("sec-fetch-site")
    if fetch_site is not None and fetch_site not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False
