"""A family in the form in which it is stored: names of the API, decimals as texts, and digests that mean sameness."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.content import PARTS, digest, prepare
from app.catalogue.types import FamilyData, PictureData, PriceData, VariantData

VARIANT = VariantData(
    sku="V",
    supplier_sku=None,
    ean="0871",
    name={"nl": "Tas"},
    description={},
    short_description={},
    color="black",
    hex_color="000000",
    size=None,
    configuration={},
    weight_grams=Decimal("120.50"),
    dimensions_mm={"length": Decimal(300)},
    attributes={},
    prices=(PriceData("EURO", "selling", 1, Decimal("8.90"), "EUR", on_request=False),),
    imprint_positions=({"code": "FRONT"},),
    pictures=(PictureData("primary", 0, "https://x/1.png"), PictureData("gallery", 1, "https://x/2.png")),
)
FAMILY = FamilyData(
    sku="F",
    supplier_sku=None,
    name={"nl": "Tas"},
    description={},
    short_description={},
    brand=None,
    category=None,
    secondary_categories=(),
    country_of_origin=None,
    attributes={},
    primaries=("V",),
    variants=(VARIANT,),
)
KEYS = st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def test_prices_are_decimal_texts_and_measures_are_numbers() -> None:
    (variant,) = prepare(FAMILY).variants
    assert variant.prices[0]["price"] == "8.9"
    assert (variant.content["weightGrams"], variant.content["dimensionsMm"]) == (120.5, {"length": 300})
    assert variant.rank == 0
    assert prepare(FAMILY).urls == ["https://x/1.png", "https://x/2.png"]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"ean": "871"}, "content"),
        ({"weight_grams": None}, "content"),
        ({"prices": ()}, "prices"),
        ({"imprint_positions": ({"code": "BACK"},)}, "imprint"),
        ({"imprint_positions": ({"code": "FRONT"}, {"code": "FRONT"})}, "imprint"),
        ({"pictures": VARIANT.pictures[:1]}, "pictures"),
        ({"sku": "W"}, None),
    ],
)
def test_a_change_shows_in_the_digest_of_its_part_alone(change: dict[str, Any], part: str | None) -> None:
    (before,) = prepare(FAMILY).variants
    changed = msgspec.structs.replace(VARIANT, **change)
    (after,) = prepare(msgspec.structs.replace(FAMILY, variants=(changed,), primaries=(changed.sku,))).variants
    assert {name for name in PARTS if before.digests[name] != after.digests[name]} == ({part} if part else set())


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@given(VALUES, VALUES)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    same = msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")
    assert (digest(one) == digest(other)) == same
