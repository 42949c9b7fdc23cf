"""Path segments that may hold a slash: `/products/A23%2F100804/history` is the history of the SKU `A23/100804`.

Servers hand over a path that is decoded already, in which that slash looks like any other. So the path is built anew
from the raw one: split at its real slashes, and in each segment only `%` and `/` stay encoded. The converters `segment`
(one segment) and `sku` (also several, for a caller that did not encode the slash) undo that.

A NUL, which PostgreSQL takes in no text, becomes the replacement character, as bytes that are no UTF-8 do: the route
then asks for its key and says in its own words that nothing has that name.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send


class PathSegments:
    """ASGI middleware that keeps an encoded slash apart from a real one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        raw = scope.get("raw_path") if scope["type"] == "http" else None
        if raw is None or b"%" not in raw:
            await self._app(scope, receive, send)
            return
        asked = {**scope, "path": keep_slashes(raw.decode("latin-1"))}
        try:
            await self._app(asked, receive, send)
        finally:
            scope["route"] = asked.get("route")  # for figures, traces and the access log, which are around this


def keep_slashes(raw_path: str) -> str:
    """The decoded path in which `%` and `/` inside a segment are still encoded, without NUL.

    >>> keep_slashes("/products/A%2FB%20C%25/history")
    '/products/A%2FB C%25/history'
    """
    segments = (unquote(segment) for segment in raw_path.split("/"))
    path = "/".join(segment.replace("%", "%25").replace("/", "%2F") for segment in segments)
    return path.replace("\x00", "\N{REPLACEMENT CHARACTER}")


class SegmentConvertor(Convertor[str]):
    """One path segment, whatever it holds."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """The segment's text."""
        return unquote(value)

    def to_string(self, value: str) -> str:
        """The segment as `keep_slashes` writes it."""
        return value.replace("%", "%25").replace("/", "%2F")


class SkuConvertor(SegmentConvertor):
    """A SKU, also where its slash was not encoded."""

    regex = r"[\s\S]+"  # also a line break, and one at the end that `$` would overlook


def register_convertors() -> None:
    """Make `{name:segment}` and `{name:sku}` known to the routes."""
    register_url_convertor("segment", SegmentConvertor())
    register_url_convertor("sku", SkuConvertor())
