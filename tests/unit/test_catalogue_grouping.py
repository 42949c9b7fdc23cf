import pytest

from app.catalogue.grouping import family_key, primaries, speaking_document
from app.catalogue.types import DocumentOutline

SKUS = ("A-1", "A-2", "A-3")


@pytest.mark.parametrize(
    ("a_number", "has_children", "family"),
    [
        ("A23", True, "A23-100804"),
        ("A23-FAMILY", True, "A23-100804"),
        ("A23", False, "A23-100804"),
        ("a23", False, "A23-100804"),
        (None, False, "A23-100804"),
        ("A23-FAMILY", False, "A23-FAMILY"),
    ],
)
def test_a_document_without_children_belongs_to_its_anumber(
    a_number: str | None, has_children: bool, family: str
) -> None:
    assert family_key(DocumentOutline("A23-100804", a_number, has_children, ()), "A23") == family


@pytest.mark.parametrize(
    ("names", "speaks"),
    [
        (["z.json", "A-1.json", "0.json"], "A-1.json"),
        (["z.json", "b.json"], "b.json"),
        (["a-1.json"], "a-1.json"),
        (["B/9.json", "z/A-1.json"], "B/9.json"),
        (["0.json", "A-1.JSON"], "A-1.JSON"),
    ],
)
def test_the_file_named_after_the_sku_speaks_else_the_first(names: list[str], speaks: str) -> None:
    assert speaking_document("A-1", names) == speaks
    assert speaking_document("A-1", reversed(names)) == speaks


@pytest.mark.parametrize(
    ("defaults", "primary"),
    [
        ({"EURO": "A-3", "BENELUX": "A-2"}, "A-2"),
        ({"EURO": "A-3", "BENELUX": "gone"}, "A-3"),
        ({"euro": "A-3", "ASIA": "A-2"}, "A-3"),
        ({"ZULU": "A-3", "ASIA": "A-2"}, "A-2"),
        ({"BENELUX": "gone"}, "A-1"),
        ({}, "A-1"),
    ],
)
def test_the_primary_variant_is_the_preferred_regions_default(defaults: dict[str, str], primary: str) -> None:
    ranked = primaries(defaults, SKUS, ("BENELUX", "EURO"))
    assert (ranked[0], sorted(ranked)) == (primary, sorted(SKUS))
