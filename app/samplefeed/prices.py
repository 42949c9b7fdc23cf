"""Price schedules as documents carry them: by region, both kinds, tiers with a lower price for more pieces."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TIERS = (1, 50, 100, 250, 500, 1500)
BUYING_SHARE = 0.72
TIER_DISCOUNT = 0.04
REGION_MARK_UP = 0.03


def schedule(regions: tuple[str, ...], price_cents: int, *, tiers: tuple[int, ...] = TIERS, ask: bool = False) -> Json:
    """`ProductPriceCountryBased` for these regions. With `ask` the largest quantity is on request, at price 0."""
    return {
        region: _region(round(price_cents * (1 + REGION_MARK_UP * index)), tiers, ask=ask and index == 0)
        for index, region in enumerate(regions)
    }


def lowest_tier(prices: Json) -> Json:
    """The same schedule with its lowest priced tier only, as the root carries it."""
    return {
        region: values | {kind: values[kind][-1:] for kind in ("RecommendedSellingPrice", "GeneralBuyingPrice")}
        for region, values in prices.items()
    }


def terms(selling: list[Json], buying: list[Json], *, pieces: int = 1) -> Json:
    """A region's prices with the terms that stand beside them."""
    return {
        "RecommendedSellingPrice": selling,
        "GeneralBuyingPrice": buying,
        "QuantityIncrements": pieces,
        "VatPercentage": 0,
        "MinimumOrderQuantity": pieces,
        "VatSettingId": pieces,
    }


def tier(quantity: int, cents: int, *, on_request: bool = False) -> Json:
    """One tier; a price on request is 0."""
    price = 0 if on_request else cents / 100
    return {"Price": price, "Quantity": quantity, "OnRequest": on_request, "Valuta": "EURO"}


def _region(price_cents: int, tiers: tuple[int, ...], *, ask: bool) -> Json:
    selling = [_discounted(quantity, price_cents, step) for step, quantity in enumerate(tiers)]
    if ask:
        selling.append(tier(tiers[-1] * 2, 0, on_request=True))
    buying = [_discounted(quantity, price_cents * BUYING_SHARE, step) for step, quantity in enumerate(tiers)]
    return terms(selling, buying)


def _discounted(quantity: int, cents: float, step: int) -> Json:
    return tier(quantity, max(1, round(cents * (1 - TIER_DISCOUNT * step))))
