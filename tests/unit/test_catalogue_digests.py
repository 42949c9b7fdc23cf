from decimal import Decimal

import msgspec
import pytest

from app.catalogue.amounts import canonical, decimal_text
from app.catalogue.content import digest, prepare
from app.catalogue.types import FamilyData, VariantData
from tests.support.feed_documents import child, document, family

FAMILY = family(document())[0]


def with_variant(**changes: object) -> FamilyData:
    changed = msgspec.structs.replace(FAMILY.variants[0], **changes)
    primaries = tuple(changed.sku if sku == FAMILY.variants[0].sku else sku for sku in FAMILY.primaries)
    return msgspec.structs.replace(FAMILY, variants=(changed, *FAMILY.variants[1:]), primaries=primaries)


def said(family: FamilyData) -> object:
    """What the digests know of a family: equal exactly when nothing of it would be written."""
    prepared = prepare(family)
    variants = {variant.sku: (variant.rank, variant.digests) for variant in prepared.variants}
    return prepared.sku, prepared.digest, variants


def test_a_digest_is_the_same_in_each_release() -> None:
    """They carry no version: of another way to make one, all of a catalogue would look changed after an upgrade."""
    value = {"name": {"nl": "Tas", "de": "Größe"}, "weightGrams": 0.5, "dimensionsMm": {}, "prices": ["8.98", None, 1]}
    assert digest(value).hex() == "0f8c106047bc6357838ccdff43bbf2ed"
    assert digest(dict(reversed(value.items()))) == digest(value)


OTHER_VALUES: dict[str, object] = {
    "sku": "x",
    "supplier_sku": None,
    "ean": "1",
    "name": {"nl": "Anders"},
    "description": {},
    "short_description": {"nl": "kort"},
    "color": "Red",
    "hex_color": None,
    "size": "S",
    "configuration": {},
    "weight_grams": Decimal(1),
    "dimensions_mm": {},
    "attributes": {},
    "prices": (),
    "imprint_positions": (),
    "pictures": (),
}


@pytest.mark.parametrize("field", VariantData.__struct_fields__)
def test_every_field_of_a_variant_counts(field: str) -> None:
    assert said(with_variant(**{field: OTHER_VALUES[field]})) != said(FAMILY)


@pytest.mark.parametrize("field", FamilyData.__struct_fields__)
def test_every_field_of_a_family_counts(field: str) -> None:
    other = {str: "x", type(None): "x", dict: {"x": "y"}, tuple: ()}[type(getattr(FAMILY, field))]
    if field == "primaries":
        other = FAMILY.primaries[::-1]
    assert said(msgspec.structs.replace(FAMILY, **{field: other})) != said(FAMILY)


def test_the_order_of_pictures_and_positions_counts() -> None:
    variant = FAMILY.variants[0]
    assert said(with_variant(pictures=variant.pictures[::-1])) != said(FAMILY)
    doubled = (*variant.imprint_positions, {"positionCode": "back"})
    assert said(with_variant(imprint_positions=doubled)) != said(with_variant(imprint_positions=doubled[::-1]))


def test_the_order_of_children_and_the_spelling_of_amounts_do_not_count() -> None:
    assert said(msgspec.structs.replace(FAMILY, variants=FAMILY.variants[::-1])) == said(FAMILY)
    assert said(with_variant(weight_grams=Decimal("181.0000"))) == said(FAMILY)


def test_what_the_reading_leaves_out_does_not_count() -> None:
    assert said(family(document(child("001"), child("002"), NewKey=[1, 2]))[0]) == said(FAMILY)


@pytest.mark.parametrize(
    ("value", "text"),
    [("7.60", "7.6"), ("7.6000", "7.6"), ("1E+2", "100"), ("-0.00", "0"), ("100", "100"), ("8.98", "8.98")],
)
def test_an_amount_has_one_spelling(value: str, text: str) -> None:
    assert decimal_text(Decimal(value)) == text
    assert str(canonical(Decimal(value))) == text
