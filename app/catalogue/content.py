"""A family's values in the form in which they are stored, compared and shown: JSON with the API's names.

    FamilyData ──▶ prepare ──▶ FamilyContent: a variant's parts, each with its digest

A digest makes comparing cheap: a variant whose digests are the stored ones is not read any further. All of it is done
before a transaction begins, so that no row is held meanwhile.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any, Literal

import msgspec
import orjson

from app.catalogue.amounts import decimal_text
from app.catalogue.types import FamilyData, PriceData, VariantData

Content = dict[str, Any]
Part = Literal["content", "prices", "imprint", "pictures"]
PARTS: frozenset[Part] = frozenset({"content", "prices", "imprint", "pictures"})


class VariantContent(msgspec.Struct, frozen=True):
    """A variant's parts, as they are stored."""

    sku: str
    rank: int
    """Of its family's variants the one with the lowest stands for it, of those that the family has."""
    content: Content
    prices: list[Content]
    imprint: list[Content]
    pictures: list[Content]
    digests: dict[Part, bytes]


class FamilyContent(msgspec.Struct, frozen=True):
    """A family's product and variants, as they are stored."""

    sku: str
    content: Content
    digest: bytes
    variants: list[VariantContent]

    @property
    def urls(self) -> list[str]:
        """Every picture's address, some of them twice."""
        return [picture["url"] for variant in self.variants for picture in variant.pictures]


def prepare(family: FamilyData) -> FamilyContent:
    """Bring a family into the form in which it is stored."""
    digests = _Digests()
    content = product_content(family)
    ranks = {sku: rank for rank, sku in enumerate(family.primaries)}
    variants = [_prepare_variant(variant, ranks[variant.sku], digests) for variant in family.variants]
    return FamilyContent(family.sku, content, digest(content), variants)


def _prepare_variant(variant: VariantData, rank: int, digests: _Digests) -> VariantContent:
    content, pictures = variant_content(variant), picture_list(variant)
    prices = price_tiers(variant.prices)
    return VariantContent(
        sku=variant.sku,
        rank=rank,
        content=content,
        prices=prices,
        imprint=list(variant.imprint_positions),
        pictures=pictures,
        digests={
            "content": digest(content),
            "prices": digest(prices),
            "imprint": digests.of(variant.imprint_positions),
            "pictures": digest(pictures),
        },
    )


class _Digests:
    """Digests of positions, each object once: a document's variants mostly share them."""

    def __init__(self) -> None:
        self._known: dict[int, bytes] = {}

    def of(self, positions: tuple[Content, ...]) -> bytes:
        whole = hashlib.blake2b(digest_size=16)
        for position in positions:
            if id(position) not in self._known:
                self._known[id(position)] = digest(position)
            whole.update(self._known[id(position)])
        return whole.digest()


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
