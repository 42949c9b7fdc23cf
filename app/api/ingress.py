"""Where the service is seen from outside: its path prefix, and what trusted proxies say of a request.

    peer ─▶ is it a trusted proxy? ─▶ X-Forwarded-Prefix and -Host (here), -For and -Proto (uvicorn's own)
         ─▶ root_path, path, host, scheme and client of the request as its sender meant them ─▶ the application

A proxy may take the prefix off the path or leave it on: both are understood. ROOT_PATH wins over the header, and the
header of anybody but a trusted proxy is not looked at (docs/decisions/0013).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import cast
from urllib.parse import quote, unquote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.setting_values import is_root_path

BELIEVED = "promidata.believed"
"""In a request's scope: whether a trusted proxy sent it."""
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class Ingress:
    """ASGI middleware that puts a request where its sender sees it."""

    def __init__(self, app: ASGIApp, *, root_path: str, proxies: str | None, own: Collection[str]) -> None:
        """Prepare it.

        Args:
            app: what answers.
            root_path: ROOT_PATH, or nothing.
            proxies: FORWARDED_ALLOW_IPS: whom to believe; None is nobody.
            own: the first segments of all paths of the application.
        """
        self._root_path = root_path
        self._own = own
        self._forwarded = ProxyHeadersMiddleware(app, proxies) if proxies else None  # type: ignore[arg-type]
        self._next = app if self._forwarded is None else cast("ASGIApp", self._forwarded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            believed = self._comes_from_proxy(scope)
            headers = Headers(scope=scope)
            prefix = forwarded_prefix(headers) if believed else ""
            scope = {**scope, **self._place(scope, prefix), BELIEVED: believed}
            if believed:
                scope["headers"] = with_host(scope["headers"], forwarded_host(headers))
        await self._next(scope, receive, send)

    def _comes_from_proxy(self, scope: Scope) -> bool:
        """Whether a trusted proxy sent this.

        `uvicorn app.main:app` has put the visitor's address in place of the proxy's before we see it, by the same list.
        No connection comes from port 0: that is what it notes where X-Forwarded-For names no port.
        """
        if self._forwarded is None:
            return False
        host, port = scope.get("client") or (None, None)
        return port == 0 or host in self._forwarded.trusted_hosts

    def _place(self, scope: Scope, prefix: str) -> dict[str, object]:
        served = scope.get("root_path", "").rstrip("/")
        root = self._root_path or served or prefix
        if not root:
            return {}
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        below = below_prefix(raw.decode("latin-1").removeprefix(served), root, self._own)
        return {"root_path": root, "path": root + unquote(below), "raw_path": (root + below).encode("latin-1")}


def below_prefix(raw_path: str, root: str, own: Collection[str]) -> str:
    """The path below the prefix `root`, whether the proxy took that off or not.

    Where the prefix looks like one of our own paths (`/api`), what is below it decides.

    >>> [below_prefix(path, "/promi", {"", "api"}) for path in ("/promi/api/v1", "/api/v1", "/promi", "/promise")]
    ['/api/v1', '/api/v1', '/', '/promise']
    >>> [below_prefix(path, "/api", {"", "api"}) for path in ("/api/api/v1", "/api/v1")]
    ['/api/v1', '/api/v1']
    """
    segments, prefix = raw_path.split("/"), root.split("/")
    rest = segments[len(prefix) :] or [""]
    has_it = [unquote(segment) for segment in segments[: len(prefix)]] == prefix
    if has_it and (rest[0] in own or prefix[1] not in own):
        return "/" + "/".join(rest)
    return raw_path


def forwarded_prefix(headers: Headers) -> str:
    """What X-Forwarded-Prefix says; nothing where it is no plain path or is there more than once."""
    given = [value.strip().rstrip("/") for value in headers.getlist("x-forwarded-prefix")]
    return given[0] if len(given) == 1 and is_root_path(given[0]) else ""


def forwarded_host(headers: Headers) -> str | None:
    """What X-Forwarded-Host says, if it is one name and perhaps a port."""
    given = [value.strip() for value in headers.getlist("x-forwarded-host")]
    return given[0] if len(given) == 1 and _HOST.fullmatch(given[0]) else None


def with_host(headers: list[tuple[bytes, bytes]], host: str | None) -> list[tuple[bytes, bytes]]:
    """The headers with another Host, or as they are for None."""
    if host is None:
        return headers
    return [(b"host", host.encode()), *((name, value) for name, value in headers if name != b"host")]
