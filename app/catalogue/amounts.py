"""Amounts as text. One spelling a value, so that `7.60`, `7.6` and `7.6000` (PostgreSQL's) are the same everywhere."""

from __future__ import annotations

from decimal import Decimal


def canonical(value: Decimal) -> Decimal:
    """The same amount without trailing zeros and without an exponent: `7.60` -> `7.6`, `1E+2` -> `100`."""
    return Decimal(decimal_text(value))


def decimal_text(value: Decimal) -> str:
    """A finite amount as a plain decimal string, as the API and the fingerprint show it: `"8.98"`, `"7.6"`, `"0"`."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
