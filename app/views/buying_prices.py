"""Leaving buying prices out, for callers who may only read what a shop's customers may know."""

from __future__ import annotations

from typing import Any


def without_buying(value: Any) -> Any:
    """The value without any list item whose `kind` is `buying` and any member named like one, at any depth.

    Price schedules have one shape wherever they stand: at a variant, in an imprint option or its costs, and among the
    old and new values of a change. What is kept of the feed as it is has its own names (`GeneralBuyingPrice`).

    >>> without_buying({"prices": [{"kind": "selling"}, {"kind": "buying"}]})
    {'prices': [{'kind': 'selling'}]}
    """
    if isinstance(value, dict):
        return {name: without_buying(part) for name, part in value.items() if "buyingprice" not in name.lower()}
    if isinstance(value, list):
        return [without_buying(part) for part in value if not _is_buying(part)]
    return value


def _is_buying(value: object) -> bool:
    return isinstance(value, dict) and value.get("kind") == "buying"
