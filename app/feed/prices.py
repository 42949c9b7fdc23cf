"""Price schedules: every region, both kinds, amounts as decimals.

`ProductPriceCountryBased.{region}` holds `RecommendedSellingPrice` and `GeneralBuyingPrice`, lists of tiers;
`ProductPriceRegionBased` has the same shape where a feed fills it, and adds the regions that the first lacks.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from app.catalogue.amounts import decimal_text
from app.catalogue.types import PriceData, PriceKind
from app.feed.jsontext import decode, number_from_text
from app.feed.measures import percent_of, pieces_of
from app.feed.node import Memo, Node, Notes, fields_of, is_name
from app.feed.values import INT4_MAX, Unfit, flag_of, not_negative_of, text_of, whole_of

Prices = tuple[PriceData, ...]
Count = Annotated[int, msgspec.Meta(ge=0, le=INT4_MAX)]
_KINDS: tuple[tuple[PriceKind, str], ...] = (("selling", "RecommendedSellingPrice"), ("buying", "GeneralBuyingPrice"))
_TIER_MARKS = frozenset({"Price", "Quantity", "OnRequest", "Valuta"})
_SOURCES = ("ProductPriceCountryBased", "ProductPriceRegionBased")
_CURRENCY = re.compile("[A-Z]{3}")
_CURRENCY_NAMES = {"EURO": "EUR", "€": "EUR", "£": "GBP", "$": "USD"}
_QUANTITIES = {
    "QuantityIncrements": "quantityIncrements",
    "MinimumOrderQuantity": "minimumOrderQuantity",
}


class Schedules(msgspec.Struct, frozen=True):
    """What a node says about prices, by region."""

    prices: Prices
    """Ordered by region, kind (selling first), quantity and currency, one entry each."""
    settings: dict[str, Any]
    """What stands beside the prices: VAT percentage, minimum order, increments."""


_NOTHING = Schedules((), {})


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


def _settings(schedule: Node) -> dict[str, Any]:
    settings: dict[str, Any] = {name: schedule.read(key, pieces_of) for key, name in _QUANTITIES.items()}
    settings["vatSettingId"] = schedule.read("VatSettingId", whole_of)
    vat = schedule.read("VatPercentage", percent_of)
    settings["vatPercentage"] = None if vat is None else decimal_text(vat)
    return {name: value for name, value in settings.items() if value is not None}


class _UsualTier(msgspec.Struct, rename="pascal"):
    price: object
    quantity: Count
    on_request: bool
    valuta: str


class _UsualSchedule(msgspec.Struct, rename="pascal"):
    recommended_selling_price: list[_UsualTier] | None = None
    general_buying_price: list[_UsualTier] | None = None
    quantity_increments: Count | None = None
    minimum_order_quantity: Count | None = None
    vat_setting_id: Count | None = None
    vat_percentage: object = None


_USUAL = msgspec.json.Decoder(dict[str, _UsualSchedule], float_hook=number_from_text)


def _regions(value: object, notes: Notes) -> dict[str, Schedules]:
    """The usual shape by a typed decode, ten times faster; whatever is unusual field by field, with notes."""
    if value is None or (usual := _usual_regions(value)) is None:
        return _unusual_regions(Node(fields_of(decode(value), "", notes), "", notes))
    return usual


def _unusual_regions(regions: Node) -> dict[str, Schedules]:
    """By trimmed name. Of names that are equal then, the last in alphabetical order counts that says anything."""
    found: dict[str, Schedules] = {}
    for key in sorted(regions.keys()):
        name = key.strip()
        schedules = _region(name, regions.child(key))
        known = found.setdefault(name, schedules)
        if _NOTHING not in (known, schedules) and known != schedules:
            regions.note(key, f"a second region {name}; the last one counts")
        found[name] = known if schedules == _NOTHING else schedules
    return found


def _usual_regions(value: object) -> dict[str, Schedules] | None:
    if not isinstance(value, msgspec.Raw):
        return None
    try:
        regions = _USUAL.decode(value)
        return {name: _usual_region(name, regions[name]) for name in sorted(regions)}
    except (msgspec.DecodeError, Unfit):
        return None


def _usual_region(name: str, schedule: _UsualSchedule) -> Schedules:
    if not is_name(name) or name != name.strip():
        raise Unfit("a region's name that has to be looked at")
    selling = [_usual_price(name, "selling", tier) for tier in schedule.recommended_selling_price or ()]
    buying = [_usual_price(name, "buying", tier) for tier in schedule.general_buying_price or ()]
    return Schedules((*_ascending(selling), *_ascending(buying)), _usual_settings(schedule))


def _usual_price(region: str, kind: PriceKind, tier: _UsualTier) -> PriceData:
    amount = not_negative_of(tier.price)
    return _price(region, kind, tier.quantity, amount, currency_of(tier.valuta), on_request=tier.on_request)


def _ascending(prices: list[PriceData]) -> list[PriceData]:
    if len({price.min_quantity for price in prices}) != len(prices):
        raise Unfit("two prices for one quantity")
    return sorted(prices, key=lambda price: price.min_quantity)


def _usual_settings(schedule: _UsualSchedule) -> dict[str, Any]:
    vat = percent_of(schedule.vat_percentage)
    found = {
        "quantityIncrements": schedule.quantity_increments,
        "minimumOrderQuantity": schedule.minimum_order_quantity,
        "vatSettingId": schedule.vat_setting_id,
        "vatPercentage": None if vat is None else decimal_text(vat),
    }
    return {name: value for name, value in found.items() if value is not None}


def _region(name: str, node: Node) -> Schedules:
    return Schedules(_schedule(name, node), _settings(node))


def _schedule(region: str, node: Node) -> Prices:
    found: list[PriceData] = []
    for kind, key in _KINDS:
        tiers: dict[int, list[PriceData]] = {}
        for tier in node.items(key, _TIER_MARKS):
            price = _tier(region, kind, tier)
            if price is not None:
                tiers.setdefault(price.min_quantity, []).append(price)
        for quantity in sorted(tiers):
            counting = _counting(tiers[quantity])
            if not {*counting, *map(_without_currency, counting)}.issuperset(tiers[quantity]):
                node.note(key, f"a second price from {quantity} pieces on; the last that can be read counts")
            found += counting
    return tuple(found)


def _counting(prices: list[PriceData]) -> list[PriceData]:
    """Of all prices from one quantity on the last of each currency, those that can be read before the others.

    One without a currency only repeats another of its amount; else it counts alone where it is the last.
    """
    readable = [price for price in prices if price.price is not None or price.on_request] or prices[-1:]
    by_currency = {price.currency: price for price in readable if price.currency}
    last = readable[-1]
    repeats = last in map(_without_currency, by_currency.values())
    if not by_currency or (last.currency is None and not repeats):
        return [last]
    return [by_currency[currency] for currency in sorted(by_currency)]


def _without_currency(price: PriceData) -> PriceData:
    return msgspec.structs.replace(price, currency=None)


def _tier(region: str, kind: PriceKind, tier: Node) -> PriceData | None:
    quantity = tier.read("Quantity", pieces_of)
    if quantity is None:
        if tier:
            tier.note("Quantity", "a price without a quantity")
        return None
    amount = tier.read("Price", not_negative_of)
    on_request = tier.read("OnRequest", flag_of) or False
    return _price(region, kind, quantity, amount, tier.read("Valuta", currency_of), on_request=on_request)


def _price(
    region: str, kind: PriceKind, quantity: int, amount: Decimal | None, currency: str | None, *, on_request: bool
) -> PriceData:
    """One tier; an amount of 0 that is on request means that the shop has to ask."""
    return PriceData(region, kind, quantity, None if on_request and not amount else amount, currency, on_request)


def currency_of(value: object) -> str | None:
    """An ISO 4217 code; `EURO` is `EUR`."""
    if isinstance(value, str) and value in _CURRENCY_NAMES:
        return _CURRENCY_NAMES[value]
    text = text_of(value)
    code = _CURRENCY_NAMES.get(text.upper(), text.upper()) if text else None
    if code and not _CURRENCY.fullmatch(code):
        raise Unfit(f"{code[:20]!r} is not a currency")
    return code
