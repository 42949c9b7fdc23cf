"""Weights, lengths and percentages, also where the unit is written behind the number: `140 g`, `0,5 kg`, `21 %`."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from app.feed.values import amount_of, only_item, positive_of

_GRAMS = {"g": "1", "gr": "1", "gram": "1", "grams": "1", "gramm": "1", "kg": "1000", "kilogram": "1000"}
_MILLIMETRES = {"mm": "1", "cm": "10", "dm": "100", "m": "1000"}
_WITH_UNIT = re.compile(r"(.*[0-9])\s*([a-z]+)\.?", re.IGNORECASE | re.DOTALL)


def _measured(units: dict[str, str], unit: str) -> Callable[[object], Decimal | None]:
    """A reader of what is meant in `unit` unless it says another of `units`; zero means that nothing is said."""
    factors = {name: Decimal(size) / Decimal(units[unit]) for name, size in units.items()}

    def read(value: object) -> Decimal | None:
        value = only_item(value)
        found = _WITH_UNIT.fullmatch(value.strip()) if isinstance(value, str) else None
        factor = factors.get(found[2].lower()) if found else None
        if found is None or factor is None:
            return positive_of(value)
        number = positive_of(found[1])
        return None if number is None else positive_of(number * factor)

    return read


grams_of = _measured(_GRAMS, "g")
kilograms_of = _measured(_GRAMS, "kg")
millimetres_of = _measured(_MILLIMETRES, "mm")
centimetres_of = _measured(_MILLIMETRES, "cm")


def percent_of(value: object) -> Decimal | None:
    """A percentage as its number: `21`, `"21 %"`."""
    value = only_item(value)
    return amount_of(value.strip().removesuffix("%") if isinstance(value, str) else value)
