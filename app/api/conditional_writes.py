"""Conditional writes: who says by If-Match which state it changes overwrites no other one.

    If-Match ─▶ the row is held by the transaction that writes: does it name the ETag of what is there? ─▶ written
                                                                 └ no ─▶ 412, and nothing is written

Tags are compared strongly, as RFC 9110 wants it (13.1.1), so what may be changed has strong ones where it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Header

from app.api.problems import ProblemError
from app.api.validators import any_weak, exact_etag_of, names_exactly
from app.views.shapes import Out

Row = TypeVar("Row")
IfMatch = Annotated[
    list[str] | None,
    Header(
        alias="If-Match",
        description="The `ETag` with which it was read, or several: where it is another by now, a 412 and no change. "
        "`*`: any. A weak one (`W/…`) never matches.",
    ),
]
CHANGED = "this is not what If-Match names: it was changed since; read it again, and send its ETag of now"
WEAK = (
    "If-Match names a weak ETag (W/…), which never matches: read it again with Accept-Encoding: identity; a proxy that "
    "compresses makes ETags weak"
)


def others_than(if_match: list[str] | None, shown: Callable[[Row], Out]) -> Callable[[Row], None] | None:
    """What refuses a row that is not `shown` as If-Match says; None where it says nothing.

    Raises (when it is called):
        ProblemError: 412.
    """
    if if_match is None:
        return None
    named = ", ".join(if_match)

    def refuse(row: Row) -> None:
        if not names_exactly(named, exact_etag_of(shown(row))):
            raise ProblemError(412, WEAK if any_weak(named) else CHANGED)

    return refuse
