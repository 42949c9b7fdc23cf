"""Price tiers as tables: a region and kind a table, a quantity a column. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec


class PriceTable(msgspec.Struct, frozen=True):
    """The tiers of one region and kind."""

    region: str
    kind: str
    currency: str
    tiers: list[tuple[int, str]]
    """From how many on, and the price, or why there is none."""


def price_tables(prices: Iterable[Mapping[str, Any]]) -> list[PriceTable]:
    """The tables of a price schedule, selling before buying."""
    tiers: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    for price in prices:
        key = (str(price.get("region") or ""), str(price.get("kind") or ""), str(price.get("currency") or ""))
        tiers.setdefault(key, []).append((int(price.get("minQuantity") or 0), _said(price)))
    found = [PriceTable(region, kind, currency, sorted(of)) for (region, kind, currency), of in tiers.items()]
    return sorted(found, key=lambda table: (table.kind != "selling", table.region))


def _said(price: Mapping[str, Any]) -> str:
    """A price with the two places that people expect, or why there is none."""
    amount = price.get("price")
    if not amount:
        return "on request" if price.get("onRequest") else "not told"
    whole, _, places = str(amount).partition(".")
    return f"{whole}.{places:0<2}"
