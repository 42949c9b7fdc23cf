"""Price schedules: every region, both kinds, amounts as decimals.

`ProductPriceCountryBased.{region}` holds `RecommendedSellingPrice` and `GeneralBuyingPrice`, lists of tiers;
`ProductPriceRegionBased` has the same shape where a feed fills it, and adds the regions that the first lacks.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app.catalogue.amounts import decimal_text
from app.catalogue.types import PriceData, PriceKind
from app.feed.jsontext import decode
from app.feed.node import Memo, Node, Notes, fields_of
from app.feed.values import Unfit, amount_of, flag_of, not_negative_of, text_of, whole_of

Prices = tuple[PriceData, ...]
_KINDS: tuple[tuple[PriceKind, str], ...] = (("selling", "RecommendedSellingPrice"), ("buying", "GeneralBuyingPrice"))
_KIND_ORDER: dict[PriceKind, int] = {"selling": 0, "buying": 1}
_TIER_MARKS = frozenset({"Price", "Quantity", "OnRequest", "Valuta"})
_SOURCES = ("ProductPriceCountryBased", "ProductPriceRegionBased")
_CURRENCY = re.compile("[A-Z]{3}")
_CURRENCY_NAMES = {"EURO": "EUR", "€": "EUR", "£": "GBP", "$": "USD"}
_SETTINGS = {
    "QuantityIncrements": "quantityIncrements",
    "MinimumOrderQuantity": "minimumOrderQuantity",
    "VatSettingId": "vatSettingId",
}


class Schedules(msgspec.Struct, frozen=True):
    """What a node says about prices, by region."""

    prices: Prices
    """Ordered by region, kind (selling first) and quantity, one entry each."""
    settings: dict[str, Any]
    """What stands beside the prices: VAT percentage, minimum order, increments."""


def read_schedules(node: Node, memo: Memo) -> Schedules:
    """All prices below a node; regions that stand in both sources are taken from the first."""
    first, second = (memo.read(node.raw(source), node, f".{source}", _regions) for source in _SOURCES)
    if not second:
        return memo.once(_flat, first)
    return _flat({**second, **first})


def _flat(regions: dict[str, Schedules]) -> Schedules:
    prices = tuple(price for region in sorted(regions) for price in regions[region].prices)
    return Schedules(
        prices, {region: regions[region].settings for region in sorted(regions) if regions[region].settings}
    )


def prices_json(prices: Prices) -> list[dict[str, Any]]:
    """Prices inside an imprint option: plain JSON as the API shows a price, the amount as a decimal string."""
    return [
        {
            "region": price.region,
            "kind": price.kind,
            "minQuantity": price.min_quantity,
            "price": None if price.price is None else decimal_text(price.price),
            "currency": price.currency,
            "onRequest": price.on_request,
        }
        for price in prices
    ]


def _settings(schedule: Node) -> dict[str, Any]:
    settings: dict[str, Any] = {name: schedule.read(key, whole_of) for key, name in _SETTINGS.items()}
    vat = schedule.read("VatPercentage", amount_of)
    settings["vatPercentage"] = None if vat is None else decimal_text(vat)
    return {name: value for name, value in settings.items() if value is not None}


def _regions(value: object, notes: Notes) -> dict[str, Schedules]:
    regions = Node(fields_of(decode(value), "", notes), "", notes)
    return {name.strip(): _region(name.strip(), regions.child(name)) for name in sorted(regions.keys())}


def _region(name: str, node: Node) -> Schedules:
    return Schedules(_schedule(name, node), _settings(node))


def _schedule(region: str, node: Node) -> Prices:
    tiers: dict[tuple[int, int], PriceData] = {}
    for kind, key in _KINDS:
        for tier in node.items(key, _TIER_MARKS):
            price = _tier(region, kind, tier)
            if price is not None:
                _add(tiers, price, tier)
    return tuple(price for _, price in sorted(tiers.items(), key=lambda pair: pair[0]))


def _add(tiers: dict[tuple[int, int], PriceData], price: PriceData, tier: Node) -> None:
    key = (_KIND_ORDER[price.kind], price.min_quantity)
    if tiers.get(key, price) != price:
        tier.note("Quantity", f"a second price from {price.min_quantity} pieces on; the last one counts")
    tiers[key] = price


def _tier(region: str, kind: PriceKind, tier: Node) -> PriceData | None:
    quantity = tier.read("Quantity", whole_of)
    if quantity is None:
        if tier:
            tier.note("Quantity", "a price without a quantity")
        return None
    amount = tier.read("Price", not_negative_of)
    on_request = tier.read("OnRequest", flag_of) or False
    if on_request and not amount:
        amount = None
    return PriceData(region, kind, quantity, amount, tier.read("Valuta", currency_of), on_request)


def currency_of(value: object) -> str | None:
    """An ISO 4217 code; `EURO` is `EUR`."""
    text = text_of(value)
    code = _CURRENCY_NAMES.get(text.upper(), text.upper()) if text else None
    if code and not _CURRENCY.fullmatch(code):
        raise Unfit(f"{code[:20]!r} is not a currency")
    return code
