"""Retry-After, read as origins write it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import OriginUnavailable
from app.outbound.answers import MAX_RETRY_AFTER_S, judge_status, parse_retry_after

NOW = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("7", 7),
        (" 120 ", 120),
        ("86400", 86_400),
        ("-1", None),
        ("+5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("9" * 30, MAX_RETRY_AFTER_S),
        ("9" * 6_000, MAX_RETRY_AFTER_S),
        ("٣", None),
        ("Sun, 01 Jun 2025 12:01:30 GMT", 90),
        ("Sunday, 01-Jun-25 12:01:30 GMT", 90),
        ("Sun Jun  1 12:01:30 2025", 90),
        ("Sun, 01 Jun 2025 11:59:59 GMT", None),
        ("Mon, 01 Jun 2026 12:00:00 GMT", 365 * 86_400),
        ("Mon, 01 Jun 2099 12:00:00 GMT", MAX_RETRY_AFTER_S),
        ("Mon, 99 Jun 2026 12:00:00 GMT", None),
        ("2025-06-01T12:01:30Z", None),
    ],
)
def test_retry_after_is_a_wait_or_nothing(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, NOW) == expected


@given(st.text(max_size=60))
def test_whatever_stands_in_retry_after_is_a_bounded_wait_or_nothing(value: str) -> None:
    wait = parse_retry_after(value, NOW)
    assert wait is None or 0 <= wait <= MAX_RETRY_AFTER_S


def test_a_date_is_compared_with_the_origins_own_clock() -> None:
    headers = {"Date": "Sat, 01 Jan 2000 00:00:00 GMT", "Retry-After": "Sat, 01 Jan 2000 00:00:30 GMT"}
    with pytest.raises(OriginUnavailable) as caught:
        judge_status(503, headers, shown="https://a.test", whole=frozenset({200}))
    assert caught.value.retry_after_s == 30
