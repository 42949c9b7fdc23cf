"""Times as callers write them: ISO 8601 as the API takes it, in UTC where no offset says otherwise."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_PLUS_LOST = re.compile(r"(:\d\d(?:\.\d+)?) (?=\d\d:?\d\d$)")
"""Where an offset's plus sign stood: unencoded, as in `…T03:00:00+01:00`, it comes out of a query as a blank. One that
no minutes or seconds stand before parts the date from the time."""


def _dated(text: object) -> object:
    """What may be a time; a number alone is none, though the parser would count it as seconds since 1970."""
    if not isinstance(text, str):
        return text
    if not _DATE.match(text):
        raise ValueError("should be a time such as 2026-01-05T03:00:00Z")
    return _PLUS_LOST.sub(r"\1+", text)


def _utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


Moment = Annotated[datetime, BeforeValidator(_dated), AfterValidator(_utc)]
"""A time; one without an offset is taken as UTC."""
