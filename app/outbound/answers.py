"""What an answer's status means for the job: go on, try again, or give up; and which of its headers are text.

200, 203, 304 go on · 408, 425, 429, 5xx and answers without a body transient · redirects followed · other 4xx permanent
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.errors import OriginRefused, OriginUnavailable
from app.time_limits import LONGEST_WAIT_S

TRANSIENT_STATUSES = frozenset({408, 425, 429})
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
MAX_RETRY_AFTER_S = 366 * 86_400.0
"""A wish beyond a year is told as a year; whoever waits bounds it anyway, to minutes."""
HEADER_MAX_CHARS = 1_000
"""Longer ones are not kept: sent back, they would be refused."""
_DIGITS = re.compile(r"[0-9]+")


def judge_status(status: int, headers: Mapping[str, str], *, shown: object, whole: frozenset[int]) -> None:
    """Return when `status` is one of `whole`, the ones that the caller can use; `shown` is the masked address.

    Raises:
        OriginUnavailable: worth another try; carries the wait that the origin asked for.
        OriginRefused: another try would not help.
    """
    if status in whole:
        return
    if status in TRANSIENT_STATUSES or not 300 <= status < 500:
        wish = wished_wait_s(headers)
        raise OriginUnavailable(f"{shown} answered {status}{_stated(wish)}", retry_after_s=wish, status=status)
    raise OriginRefused(f"{shown} answered {status}", status)


def wished_wait_s(headers: Mapping[str, str]) -> float | None:
    """The wait in seconds that an answer asks for, or None."""
    wish = headers.get("Retry-After")
    return None if wish is None else parse_retry_after(wish, _reference(headers))


def _stated(wish_s: float | None) -> str:
    """A wish that nobody waits for, as an error says it."""
    return "" if wish_s is None or wish_s <= LONGEST_WAIT_S else f" and asks for a wait of {wish_s:.0f} s"


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """The wait in seconds that a `Retry-After` header asks for, or None when it asks for none that makes sense.

    Both forms are read, seconds and an HTTP date (counted from `now`). Negative numbers, dates in the past and anything
    else are None; more than MAX_RETRY_AFTER_S is cut to it.
    """
    text = (value or "").strip()
    if _DIGITS.fullmatch(text):
        return min(float(text[:12]), MAX_RETRY_AFTER_S) if len(text) <= 12 else MAX_RETRY_AFTER_S
    moment = _http_date(text)
    if moment is None or moment <= now:
        return None
    return min((moment - now).total_seconds(), MAX_RETRY_AFTER_S)


def header_text(value: str | None) -> str | None:
    """A header's value as it can be kept and sent back, else None: whoever writes a header may send any bytes.

    Printable ASCII up to HEADER_MAX_CHARS. A byte beyond reaches us as half of a surrogate pair, which PostgreSQL
    refuses, and a control character is refused by HTTP.
    """
    usable = value and len(value) <= HEADER_MAX_CHARS and value.isascii() and value.isprintable()
    return value if usable else None


def _reference(headers: Mapping[str, str]) -> datetime:
    """The origin's own clock where it says what that shows: ours may be wrong."""
    return _http_date(headers.get("Date", "")) or datetime.now(UTC)


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
