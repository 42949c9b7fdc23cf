"""PostgreSQL's own array types: their numbers are fixed (`pg_type.dat`), so no server needs to be asked for them."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

ARRAYS = {
    1000: ("_bool", 16),
    1001: ("_bytea", 17),
    1005: ("_int2", 21),
    1007: ("_int4", 23),
    1009: ("_text", 25),
    1015: ("_varchar", 1043),
    1016: ("_int8", 20),
    1022: ("_float8", 701),
    1115: ("_timestamp", 1114),
    1185: ("_timestamptz", 1184),
    1231: ("_numeric", 1700),
    2951: ("_uuid", 2950),
    199: ("_json", 114),
    3807: ("_jsonb", 3802),
}
"""The number of an array type to its name and the number of its elements' type."""

NOTHING_SENT = SimpleNamespace(name="nothing was sent")
"""Stands for the statement that would have asked; an unnamed one of ours is still the last that the server parsed."""


def known_types(numbers: Collection[int]) -> list[dict[str, Any]] | None:
    """What the driver's question for these types would answer, or None where one of them is not known here."""
    if not ARRAYS.keys() >= set(numbers):
        return None
    return [_array(number, *ARRAYS[number]) for number in numbers]


def _array(number: int, name: str, element: int) -> dict[str, Any]:
    return {
        "oid": number,
        "name": name,
        "ns": "pg_catalog",
        "kind": b"b",
        "elemtype": element,
        "elemdelim": b",",
        "basetype": None,
        "attrtypoids": None,
        "attrnames": None,
        "range_subtype": None,
    }
