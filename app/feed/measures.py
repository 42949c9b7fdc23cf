"""Weights, lengths, percentages and numbers of pieces, also with their unit: `140 g`, `0,5 kg`, `21 %`, `250 st`."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from app.feed.values import amount_of, only_item, positive_of, whole_of

_GRAMS = {"g": "1", "gr": "1", "gram": "1", "grams": "1", "gramm": "1", "kg": "1000", "kilogram": "1000"}
_MILLIMETRES = {"mm": "1", "cm": "10", "dm": "100", "m": "1000"}
_PIECES = frozenset(
    ("st", "stk", "stck", "stück", "stuk", "stuks", "pc", "pcs", "pce", "piece", "pieces", "pièces", "unit", "units")
)
_WITH_UNIT = re.compile(r"(.*[0-9])\s*([^\W\d_]+)\.?", re.DOTALL)


def _measured(units: dict[str, str], unit: str) -> Callable[[object], Decimal | None]:
    """A reader of what is meant in `unit` unless it says another of `units`; zero means that nothing is said."""
    factors = {name: Decimal(size) / Decimal(units[unit]) for name, size in units.items()}

    def read(value: object) -> Decimal | None:
        amount, unit_said = _taken_apart(value)
        factor = factors.get(unit_said)
        if factor is None:
            return positive_of(value)
        number = positive_of(amount)
        return None if number is None else positive_of(number * factor)

    return read


def _taken_apart(value: object) -> tuple[object, str]:
    """What stands before a unit, and the unit; the value itself where there is none."""
    value = only_item(value)
    found = _WITH_UNIT.fullmatch(value.strip()) if isinstance(value, str) else None
    return (found[1], found[2].lower()) if found else (value, "")


grams_of = _measured(_GRAMS, "g")
kilograms_of = _measured(_GRAMS, "kg")
millimetres_of = _measured(_MILLIMETRES, "mm")
centimetres_of = _measured(_MILLIMETRES, "cm")


def percent_of(value: object) -> Decimal | None:
    """A percentage as its number: `21`, `"21 %"`."""
    value = only_item(value)
    return amount_of(value.strip().removesuffix("%") if isinstance(value, str) else value)


def pieces_of(value: object) -> int | None:
    """A number of pieces: `250`, `"250 st"`."""
    number, unit = _taken_apart(value)
    return whole_of(number if unit in _PIECES else value)
