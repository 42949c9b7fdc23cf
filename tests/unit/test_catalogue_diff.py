"""The decision about a family, as tables: what arrived, what is stored, and what is to be written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from app.catalogue.content import PARTS, FamilyContent, Part, VariantContent, digest
from app.catalogue.diff import FamilyDiff, StoredProduct, StoredVariant, changed_fields, decide, owner_of

FAMILY = "A360-1"


def arrived(sku: str, *, rank: int = 0, **parts: Any) -> VariantContent:
    values = {
        part: parts.get(part, default)
        for part, default in (("content", {"ean": "1"}), ("prices", []), ("imprint", []), ("pictures", []))
    }
    digests: dict[Part, bytes] = {part: digest(values[part]) for part in PARTS}
    return VariantContent(sku=sku, rank=rank, digests=digests, **values)


def kept(variant: VariantContent, **changes: Any) -> StoredVariant:
    """The stored variant that says what `variant` does, but for `changes`."""
    same = StoredVariant(
        id=1,
        sku=variant.sku,
        product_sku=FAMILY,
        status="active",
        position=0,
        is_primary=variant.rank == 0,
        content_digest=variant.digests["content"],
        prices_digest=variant.digests["prices"],
        imprint_digest=variant.digests["imprint"],
        pictures_digest=variant.digests["pictures"],
        owner_before=FAMILY,
        dropped=False,
    )
    return msgspec.structs.replace(same, **changes)


def family(*variants: VariantContent, **content: Any) -> FamilyContent:
    return FamilyContent(FAMILY, content, digest(content), list(variants))


def product(status: str = "active", **content: Any) -> StoredProduct:
    return StoredProduct(id=1, status=status, content=content, content_digest=digest(content), applied_version=1)


@pytest.mark.parametrize(
    ("stored", "kind", "fields"),
    [
        (None, "created", {}),
        (product(brand="Premo"), "unchanged", {}),
        (product(brand="Other"), "updated", {"brand": ("Other", "Premo")}),
        (product("discontinued", brand="Premo"), "reactivated", {}),
        (product("discontinued", brand="Other"), "reactivated", {"brand": ("Other", "Premo")}),
    ],
)
def test_what_becomes_of_the_product(stored: StoredProduct | None, kind: str, fields: dict[str, Any]) -> None:
    diff = decide(family(brand="Premo"), stored, {}, {})
    assert (diff.kind, diff.fields) == (kind, fields)


@dataclass(frozen=True)
class Scenario:
    """A variant that arrives as `arrived("V")` says, against what is stored of it."""

    stored: dict[str, Any] | None
    kind: str
    parts: set[str] = field(default_factory=set)


SCENARIOS = {
    "it is new": Scenario(None, "created", set(PARTS)),
    "it is as it was": Scenario({}, "unchanged"),
    "its values differ": Scenario({"content_digest": b"old"}, "updated", {"content"}),
    "its prices differ": Scenario({"prices_digest": b"old"}, "updated", {"prices"}),
    "its imprint differs": Scenario({"imprint_digest": b"old"}, "updated", {"imprint"}),
    "its pictures alone differ: what is shown decides later": Scenario(
        {"pictures_digest": b"old"}, "unchanged", {"pictures"}
    ),
    "everything differs": Scenario(
        {"content_digest": b"o", "prices_digest": b"o", "imprint_digest": b"o", "pictures_digest": b"o"},
        "updated",
        set(PARTS),
    ),
    "it was discontinued": Scenario({"status": "discontinued"}, "reactivated"),
    "it was discontinued and differs": Scenario(
        {"status": "discontinued", "prices_digest": b"old"}, "reactivated", {"prices"}
    ),
    "it came from another family": Scenario({"product_sku": "A360-2", "owner_before": "A360-2"}, "updated"),
    "another one was the primary variant": Scenario({"is_primary": False}, "updated"),
    "it stood elsewhere in the document": Scenario({"position": 7}, "unchanged"),
    "it was dropped and is back before that was settled": Scenario({"dropped": True}, "unchanged"),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_becomes_of_a_variant_when(name: str) -> None:
    scenario, variant = SCENARIOS[name], arrived("V")
    stored = {} if scenario.stored is None else {"V": kept(variant, **scenario.stored)}
    (decided,) = decide(family(variant), product(), stored, {}).variants
    assert decided.kind == scenario.kind
    assert set(decided.parts) == scenario.parts


def test_variants_keep_the_documents_order_without_those_that_stay_elsewhere() -> None:
    diff = decide(family(arrived("C"), arrived("A"), arrived("B")), None, {}, {"A": ["A360-0"]})
    assert [(item.sku, item.position) for item in diff.variants] == [("C", 0), ("B", 1)]
    assert diff.left_out == [("A", "A360-0")]


@pytest.mark.parametrize(
    ("elsewhere", "primary"),
    [((), ["B"]), (("B",), ["C"]), (("B", "C"), ["A"]), (("A",), ["B"]), (("A", "B", "C"), [])],
)
def test_the_first_of_those_that_are_its_own_stands_for_a_family(
    elsewhere: tuple[str, ...], primary: list[str]
) -> None:
    listed = family(arrived("A", rank=2), arrived("B", rank=0), arrived("C", rank=1))
    diff = decide(listed, None, {}, {sku: ["A360-0"] for sku in elsewhere})
    assert [item.sku for item in diff.variants if item.is_primary] == primary


def test_a_variant_that_is_listed_no_more_is_dropped_by_its_own_family_alone() -> None:
    mine, others = arrived("MINE"), arrived("OTHERS")
    stored = {"MINE": kept(mine), "OTHERS": kept(others, product_sku="A360-2")}
    diff: FamilyDiff = decide(family(), product(), stored, {})
    assert [variant.sku for variant in diff.dropped] == ["MINE"]


@pytest.mark.parametrize(
    ("owner_before", "others", "owner"),
    [
        (None, [], FAMILY),
        ("A360-9", [], FAMILY),
        (FAMILY, ["A360-0"], FAMILY),
        ("A360-0", ["A360-0"], "A360-0"),
        ("A360-5", ["A360-5", "A360-0"], "A360-5"),
        ("A360-7", ["A360-0", "A360-2"], "A360-0"),
        (None, ["A360-0"], "A360-0"),
        (None, ["A360-2"], FAMILY),
        (None, ["a360-1"], FAMILY),
    ],
)
def test_a_variant_that_several_list_stays_where_it_was_else_goes_to_the_first_by_sku(
    owner_before: str | None, others: list[str], owner: str
) -> None:
    stored = None if owner_before is None else kept(arrived("V"), owner_before=owner_before)
    assert owner_of(FAMILY, stored, others) == owner
    assert owner_of(FAMILY, stored, list(reversed(others))) == owner, "the order decides nothing"


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({}, {}, {}),
        ({"brand": "a"}, {"brand": "a"}, {}),
        ({"brand": "a"}, {}, {"brand": ("a", None)}),
        ({}, {"brand": "a"}, {"brand": (None, "a")}),
        ({"name": {"nl": "a", "fr": "b"}}, {"name": {"nl": "a"}}, {"name.fr": ("b", None)}),
        ({"name": {}}, {"name": {"nl": "a", "de": "b"}}, {"name.de": (None, "b"), "name.nl": (None, "a")}),
        ({"name": None}, {"name": {"nl": "a"}}, {"name": (None, {"nl": "a"})}),
        ({"attributes": {"x": 1}}, {"attributes": {"x": 2}}, {"attributes.x": (1, 2)}),
        (
            {"configuration": {"nl": []}},
            {"configuration": {"nl": [1]}},
            {"configuration": ({"nl": []}, {"nl": [1]})},
        ),
        ({"dimensionsMm": {"length": 1}}, {"dimensionsMm": {}}, {"dimensionsMm": ({"length": 1}, {})}),
    ],
)
def test_changed_fields_are_named_with_old_and_new_value(
    old: dict[str, Any], new: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert changed_fields(old, new) == changes
