"""The door while no key is configured: callers on this machine only (API.md, "Around it").

A page in the user's own browser can send requests to loopback too, so two more things are looked at: `Host`, which a
name that was rebound to 127.0.0.1 would betray, and where a request that changes something came from. And a proxy on
this machine sends whatever reaches it. Of one that is trusted everybody counts whom it names, since the first may be
the visitor's own word; what any other one passes on for somebody else may not change anything.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.ingress import BELIEVED
from app.api.problems import MEDIA_TYPE, problem_answer, problem_body, problem_response

_SPOKEN_FOR = ("x-forwarded-for", "x-real-ip")
_FORWARDED = re.compile(r'for="?(\[[^\]]*\]|[^;,"\s]*)', re.IGNORECASE)
"""Whom the header `Forwarded` (RFC 7239) speaks for."""
READING = frozenset({"GET", "HEAD", "OPTIONS"})
NO_NAME_OF_OURS = "no API_KEYS are configured, so Host must be a name of this machine's loopback, such as localhost"


def refusal_answer() -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: every operation is behind this door, or behind the one of keys."""
    answer = problem_answer(403)
    answer["content"][MEDIA_TYPE]["example"] = problem_body(403, NO_NAME_OF_OURS)
    return {403: answer}


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
    changes = scope["method"] not in READING
    is_for_others = (changes or scope.get(BELIEVED, False)) and not all(map(_is_local_sender, spoken_for(headers)))
    if is_for_others or not all(_is_local_end(end) for end in ends):
        return "no API_KEYS are configured, so only callers on this machine are answered"
    if not is_loopback_name(_host_name(headers.get("host", ""))):
        return NO_NAME_OF_OURS
    if changes and not _same_site(headers):
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


def spoken_for(headers: Headers) -> list[str]:
    """Everybody for whom a request was passed on, as the headers of proxies name them.

    >>> spoken_for(Headers({"x-forwarded-for": "127.0.0.1, 203.0.113.9", "forwarded": 'for="[2001:db8::1]:47";by=x'}))
    ['127.0.0.1', '203.0.113.9', '[2001:db8::1]']
    """
    listed = [part.strip() for name in _SPOKEN_FOR for value in headers.getlist(name) for part in value.split(",")]
    return listed + [found for value in headers.getlist("forwarded") for found in _FORWARDED.findall(value)]


def _is_local_sender(named: str) -> bool:
    """An address, perhaps with a port; what hides who it is is not local."""
    return is_loopback_name(named) or is_loopback_name(_host_name(named))


def _same_site(headers: Headers) -> bool:
    fetch_site = headers.get("sec-fetch-site")
    return (fetch_site is None or fetch_site in {"same-origin", "none"}) and origin_fits(headers)


def origin_fits(headers: Headers) -> bool:
    """Whether the page that sent this, where the browser names it, is at the address that it was sent to."""
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False
