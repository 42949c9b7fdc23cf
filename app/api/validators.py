"""Conditional reads: an ETag from what the database knows of an answer, so that an unchanged one is not built again.

    parts of the answer ─▶ etag_of ─▶ named by If-None-Match? ─▶ 304 without a body
                                        └ no ─▶ the answer is built, with `validator_headers`

The tags are weak: the same answer goes out compressed in different ways. What may be changed under a condition
(`conditional_writes.py`) has a strong one, which the compression makes weak where it does its work. Whatever an answer
depends on must be among a tag's parts: rows, parameters, what the caller may see, where addresses lead. The program's
own version always is.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from app import VERSION
from app.views.shapes import Out, shown_json

CACHE_CONTROL = "private, no-cache"
"""Kept by whoever asked, for callers with its key (app/api/answer_headers.py), and asked for again each time."""
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "If-None-Match names the answer's ETag."}}
"""For OpenAPI."""
ETAG = {"ETag": {"description": "For `If-None-Match` of the next call.", "schema": {"type": "string"}}}
_TAG_BYTES = 15
_TAG = re.compile(r'(?<![^\s,])(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
"""RFC 9110, 8.8.3: an entity tag, weak or strong, in a list of them."""


def describe_etags(paths: dict[str, Any]) -> None:
    """Add the ETag to the answers of OpenAPI's operations that may answer 304."""
    for operations in paths.values():
        for operation in operations.values():
            answers = operation["responses"]
            for status in ("200", "304") if "304" in answers else ():
                answers[status]["headers"] = answers[status].get("headers", {}) | ETAG


def etag_of(*parts: object) -> str:
    """A weak ETag of parts that orjson can write; the same for equal ones, another for any others."""
    digest = hashlib.blake2b(orjson.dumps([VERSION, *parts]), digest_size=_TAG_BYTES).digest()
    return f'W/"{base64.urlsafe_b64encode(digest).decode()}"'


def exact_etag_of(view: Out) -> str:
    """A strong ETag of an answer that is this view, byte for byte."""
    return etag_of(shown_json(view)).removeprefix("W/")


def validator_headers(etag: str) -> dict[str, str]:
    """What an answer with this ETag carries, a 304 too (RFC 9110, 15.4.5)."""
    return {"ETag": etag, "Cache-Control": CACHE_CONTROL}


def unchanged(request: Request, etag: str) -> Response | None:
    """The 304 for a caller whose If-None-Match names this ETag, else None."""
    given = ", ".join(request.headers.getlist("if-none-match"))
    return Response(status_code=304, headers=validator_headers(etag)) if names(given, etag) else None


def unchanged_page(request: Request, response: Response, *parts: object) -> Response | None:
    """The 304 for a caller that has what these parts make, else None, and `response` says what it is."""
    return _unchanged(request, response, etag_of(*parts))


def unchanged_view(request: Request, response: Response, view: Out) -> Response | None:
    """The same of an answer that is this view."""
    return _unchanged(request, response, exact_etag_of(view))


def _unchanged(request: Request, response: Response, etag: str) -> Response | None:
    response.headers.update(validator_headers(etag))
    return unchanged(request, etag)


def names(if_none_match: str, etag: str) -> bool:
    """Whether a list of tags, or `*`, names this one by the weak comparison.

    >>> names('"other", W/"abc"', 'W/"abc"'), names('"abc"', 'W/"abc"'), names("*", 'W/"abc"')
    (True, True, True)
    >>> names('abc', 'W/"abc"'), names("", 'W/"abc"')
    (False, False)
    """
    tag = etag.removeprefix("W/")[1:-1]
    return if_none_match.strip() == "*" or tag in [given for _, given in _TAG.findall(if_none_match)]


def names_exactly(if_match: str, etag: str) -> bool:
    """Whether a list of tags, or `*`, names this one by the strong comparison, which no weak tag passes.

    >>> names_exactly('"other", "abc"', '"abc"'), names_exactly("*", '"abc"'), names_exactly('W/"abc"', '"abc"')
    (True, True, False)
    """
    return if_match.strip() == "*" or etag[1:-1] in [given for weak, given in _TAG.findall(if_match) if not weak]


def any_weak(tags: str) -> bool:
    """Whether a list of tags has a weak one."""
    return any(weak for weak, _ in _TAG.findall(tags))
