"""A family's values in the form in which they are stored, compared and shown: JSON with the API's names.

`digest` makes comparing cheap: a variant whose three digests are the stored ones is not read any further.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

import orjson

from app.catalogue.amounts import decimal_text
from app.catalogue.types import FamilyData, PriceData, VariantData

Content = dict[str, Any]


def product_content(family: FamilyData) -> Content:
    """What a product is, without its variants."""
    return {
        "supplierSku": family.supplier_sku,
        "name": family.name,
        "description": family.description,
        "shortDescription": family.short_description,
        "brand": family.brand,
        "category": family.category,
        "secondaryCategories": list(family.secondary_categories),
        "countryOfOrigin": family.country_of_origin,
        "attributes": family.attributes,
    }


def variant_content(variant: VariantData) -> Content:
    """What a variant is, without its prices, imprint positions and pictures."""
    return {
        "supplierSku": variant.supplier_sku,
        "ean": variant.ean,
        "name": variant.name,
        "description": variant.description,
        "shortDescription": variant.short_description,
        "color": variant.color,
        "hexColor": variant.hex_color,
        "size": variant.size,
        "configuration": variant.configuration,
        "weightGrams": _number(variant.weight_grams),
        "dimensionsMm": {name: _number(value) for name, value in variant.dimensions_mm.items()},
        "attributes": variant.attributes,
    }


def price_tiers(prices: tuple[PriceData, ...]) -> list[Content]:
    """Price schedules; a price is a decimal string and never a binary float."""
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


def picture_list(variant: VariantData) -> list[Content]:
    """Which addresses a variant shows, in order."""
    return [{"role": picture.role, "position": picture.position, "url": picture.url} for picture in variant.pictures]


def digest(value: Any) -> bytes:
    """Sixteen bytes that are the same for the same JSON value, whatever the order of its keys."""
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def _number(value: Decimal | None) -> int | float | None:
    """Grams and millimetres as JSON numbers: measures, not money."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)
