"""Forms: read, known to come from a page of ours, and answered with a redirect that says what happened.

A form carries a token made of two cookies that only our pages' owner has: a random one of the browser, and the
session. Whoever could plant one of them still lacks the other. What other sites send is refused before that.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Mapping
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec
from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.responses import Response

from app.api.local_door import origin_fits
from app.api.problems import ProblemError
from app.dashboard.entering import leading
from app.dashboard.showing import form_token
from app.views.refusals import refusal_in_words

MOST_FIELDS = 50
STALE = "this page was open too long, or cookies are off: load it again and send the form once more"


async def read_form(request: Request) -> Mapping[str, str]:
    """The fields of a form that one of our own pages sent; the last of each name counts.

    Raises:
        ProblemError: 403 for what comes from elsewhere, 422 for what is no form.
    """
    if not from_our_page(request):
        raise ProblemError(403, "a page of another site may not change anything here")
    try:
        fields = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise ProblemError(422, "this is no form of ours") from None
    if not hmac.compare_digest(fields.pop("token", "").encode(), form_token(request).encode()):
        raise ProblemError(403, STALE)
    if any("\x00" in value for value in fields.values()):
        raise ProblemError(422, "a field should not hold NUL characters")
    return {name: value.strip() for name, value in fields.items()}


Form = Annotated[Mapping[str, str], Depends(read_form)]


def from_our_page(request: Request) -> bool:
    """Whether a request comes from our own site, as far as the browser says."""
    fetch_site = request.headers.get("sec-fetch-site")
    return origin_fits(request.headers) if fetch_site is None else fetch_site in {"same-origin", "none"}


class Outcome(msgspec.Struct, frozen=True):
    """What a form came to, and the page that shows it where that is another one."""

    said: str
    to: str | None = None
    secret: str = ""
    """What that page shows below the line, and no page after it."""


async def done(request: Request, back: str, work: Awaitable[Outcome]) -> Response:
    """Do what a form asks; lead to a page that says what happened, or `back` to one that says why it did not.

    Raises:
        PromidataSyncError, ProblemError: it came to nothing; `PageRoute` leads back, past the audit trail.
    """
    request.state.back = back
    try:
        outcome = await work
    except ValidationError as error:
        first = error.errors()[0]
        raise ProblemError(422, f"{'.'.join(map(str, first['loc']))}: {refusal_in_words(first)}") from None
    return leading(request, outcome.to or back, outcome.said, secret=outcome.secret)
