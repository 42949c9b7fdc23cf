"""A fingerprint of what a family says, to tell whether anything changed when its document's hash did.

    FamilyData ── sorted keys, amounts in one spelling, variants by SKU ──▶ JSON ──▶ sha256 ──▶ "v1:…"

What the order says counts: pictures, imprint positions, options, configuration fields, secondary categories. What it
does not say is taken out: keys, languages, regions, and the children's order (which decides at most the primary
variant, and that is a field). Nothing is excluded. Change `VERSION` whenever the reading changes what it gives for
the same bytes: `promidata-sync reparse` then finds every family.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from app.catalogue.amounts import decimal_text
from app.catalogue.types import FamilyData, PriceData, VariantData

VERSION = "v1"
_SHARED = ("prices", "imprint_positions")
_OWN_FIELDS = tuple(name for name in VariantData.__struct_fields__ if name not in _SHARED)
_FAMILY_FIELDS = tuple(name for name in FamilyData.__struct_fields__ if name != "variants")
_encode = msgspec.json.Encoder(order="deterministic", decimal_format="string").encode


def fingerprint(family: FamilyData) -> str:
    """The family's fingerprint, `v1:` and 64 hex digits; equal exactly when every field is."""
    digests = _SharedDigests()
    parts = [[getattr(family, name) for name in _FAMILY_FIELDS]]
    parts += [_variant(variant, digests) for variant in sorted(family.variants, key=lambda variant: variant.sku)]
    return f"{VERSION}:{sha256(_encode(parts)).hexdigest()}"


def _variant(variant: VariantData, digests: _SharedDigests) -> list[Any]:
    own = [_spelled(getattr(variant, name)) for name in _OWN_FIELDS]
    prices = digests.of(variant.prices, lambda prices: [_price(price) for price in prices])
    return [*own, prices, digests.of(variant.imprint_positions, list)]


def _spelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    return decimal_text(value) if hasattr(value, "quantize") else value


def _price(price: PriceData) -> list[Any]:
    amount = None if price.price is None else decimal_text(price.price)
    return [price.region, price.kind, price.min_quantity, amount, price.currency, price.on_request]


class _SharedDigests:
    """Digests of parts that variants share as one object: the same positions are encoded once a family."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of(self, part: tuple[Any, ...], plain: Callable[[tuple[Any, ...]], list[Any]]) -> str:
        if id(part) not in self._known:
            self._known[id(part)] = sha256(_encode(plain(part))).hexdigest()
        return self._known[id(part)]
