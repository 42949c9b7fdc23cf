"""Leaving buying prices out, for callers who may only read what a shop's customers may know."""

from __future__ import annotations

import re
from typing import Any

import orjson

_TIER = (
    rb'[^"\\]*+","kind":"buying","minQuantity":\d++,"price":(?:null|"[0-9.]*+"),"currency":(?:null|"[^"\\]*+"),'
    rb'"onRequest":(?:true|false)\}'
)
_REST = re.compile(rb',\{"region":"' + _TIER + rb'(?:,\{"region":"' + _TIER + rb")*+")
_FIRST = re.compile(rb'\{"region":"(?<=[\[,]\{"region":")' + _TIER + rb",")
_ONLY = re.compile(rb'\{"region":"(?<=\[\{"region":")' + _TIER + rb"(?=\])")
"""A buying tier of a price schedule as `packing` writes it, after another item, before one, and alone in its list. What
is within a JSON string cannot look like that, since its quotes are escaped."""


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


def json_without_buying(raw: bytes) -> bytes:
    """The same of JSON. Schedules written by `packing` are cut out as they stand, ten times as fast as parsing them.

    Whatever is left that may be a buying price is looked at closely.

    >>> json_without_buying(b'{"a": [{"kind": "buying"}]}')
    b'{"a":[]}'
    """
    cut = _REST.sub(b"", raw) if b"buying" in raw else raw
    if not _may_hold_buying(cut):
        return cut
    cut = _ONLY.sub(b"", _FIRST.sub(b"", cut))
    return orjson.dumps(without_buying(orjson.loads(raw))) if _may_hold_buying(cut) else cut


def _may_hold_buying(raw: bytes) -> bool:
    """Whether it names buying in any way; with an escape in it, it may do so in disguise."""
    return b"buying" in raw.lower() or (b"\\" in raw and b"\\u" in raw)  # one byte is looked for ten times as fast


def _is_buying(value: object) -> bool:
    return isinstance(value, dict) and value.get("kind") == "buying"
