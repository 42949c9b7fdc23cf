"""The decision about one family: what arrived and what is stored in, what to write out. Pure.

    FamilyContent, what is stored, other listers ──▶ decide ──▶ FamilyDiff
                                                           ├── product: create / update / reactivate / nothing
                                                           ├── variants: the same, one by one, and which parts differ
                                                           └── dropped: variants that the family does not list any more

Parts are compared by digest, so a stored variant's large values need not be read to know that nothing changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from app.catalogue.content import PARTS, Content, FamilyContent, Part, VariantContent

Kind = Literal["created", "updated", "unchanged", "reactivated"]
BY_KEY = frozenset({"name", "description", "shortDescription", "attributes"})
"""Objects whose keys are named one by one as changed fields: `name.nl`."""


class StoredVariant(msgspec.Struct, frozen=True):
    """A variant as far as the decision needs it."""

    id: int
    sku: str
    product_sku: str
    status: str
    position: int
    is_primary: bool
    content_digest: bytes
    prices_digest: bytes
    imprint_digest: bytes
    pictures_digest: bytes
    owner_before: str
    """The family that had it before this run."""
    dropped: bool
    """Its family listed it no more, and what becomes of it is not settled yet."""


class StoredProduct(msgspec.Struct, frozen=True):
    """A product as far as the decision needs it."""

    id: int
    status: str
    content: Content
    content_digest: bytes
    applied_version: int


class VariantDiff(msgspec.Struct, frozen=True):
    """What to write of one variant."""

    kind: Kind
    position: int
    is_primary: bool
    """It stands for the family: the first that does of those that are the family's."""
    variant: VariantContent
    stored: StoredVariant | None
    parts: frozenset[Part]
    """The parts that differ from what is stored; all of them for a new variant."""

    @property
    def sku(self) -> str:
        """The variant's SKU."""
        return self.variant.sku

    @property
    def stood_for(self) -> str | None:
        """The product that it stood for until now."""
        was_primary = self.stored is not None and self.stored.status == "active" and self.stored.is_primary
        return self.stored.product_sku if self.stored is not None and was_primary else None


class FamilyDiff(msgspec.Struct, frozen=True):
    """What to write of a family."""

    kind: Kind
    family: FamilyContent
    fields: dict[str, tuple[Any, Any]]
    """Changed field of the product to its old and new value."""
    variants: list[VariantDiff]
    dropped: list[StoredVariant]
    left_out: list[tuple[str, str]]
    """Variants that stay with another family that lists them too: SKU and that family's SKU."""

    @property
    def shows_otherwise(self) -> bool:
        """Whether readers see something else afterwards, pictures apart: those may be the same at new addresses.

        What is dropped is shown until it is settled, and moves its product then.
        """
        return self.kind != "unchanged" or any(item.kind != "unchanged" for item in self.variants)


def decide(
    family: FamilyContent,
    product: StoredProduct | None,
    stored: Mapping[str, StoredVariant],
    listers: Mapping[str, list[str]],
) -> FamilyDiff:
    """Decide what a family's documents change.

    Args:
        family: what arrived.
        product: the stored product of that SKU, if there is one.
        stored: stored variants by SKU: those that the family lists, and those that belong to the product.
        listers: variant SKU to the SKUs of the *other* families whose documents list it.
    """
    owners = {
        variant.sku: owner_of(family.sku, stored.get(variant.sku), listers.get(variant.sku, []))
        for variant in family.variants
    }
    mine = [variant for variant in family.variants if owners[variant.sku] == family.sku]
    first = min((variant.rank for variant in mine), default=None)
    return FamilyDiff(
        kind=_product_kind(product, family.digest),
        family=family,
        fields={} if product is None else changed_fields(product.content, family.content),
        variants=[
            _decide_variant(
                variant, stored.get(variant.sku), family.sku, position=position, is_primary=variant.rank == first
            )
            for position, variant in enumerate(mine)
        ],
        dropped=[old for sku, old in stored.items() if sku not in owners and old.product_sku == family.sku],
        left_out=[(sku, owner) for sku, owner in owners.items() if owner != family.sku],
    )


def owner_of(family_sku: str, stored: StoredVariant | None, others: list[str]) -> str:
    """The family that a variant belongs to when several list it (ENGINE.md 5): depends on neither order nor time.

    It stays with the family that had it before this run and still lists it, else it goes to the first by SKU.
    """
    if not others:
        return family_sku
    listing = {family_sku, *others}
    if stored is not None and stored.owner_before in listing:
        return stored.owner_before
    return min(listing)


def changed_fields(old: Content, new: Content) -> dict[str, tuple[Any, Any]]:
    """Changed fields with old and new value; texts by language and attributes by name (`name.nl`).

    >>> changed_fields({"name": {"nl": "Tas"}, "brand": None}, {"name": {"nl": "Rugzak"}, "brand": None})
    {'name.nl': ('Tas', 'Rugzak')}
    """
    changes: dict[str, tuple[Any, Any]] = {}
    for field in sorted(old.keys() | new.keys()):
        before, after = old.get(field), new.get(field)
        if before == after:
            continue
        if field in BY_KEY and isinstance(before, dict) and isinstance(after, dict):
            changes |= {
                f"{field}.{key}": (before.get(key), after.get(key))
                for key in sorted(before.keys() | after.keys())
                if before.get(key) != after.get(key)
            }
        else:
            changes[field] = (before, after)
    return changes


def _product_kind(product: StoredProduct | None, content_digest: bytes) -> Kind:
    if product is None:
        return "created"
    if product.status != "active":
        return "reactivated"
    return "unchanged" if product.content_digest == content_digest else "updated"


def _decide_variant(
    variant: VariantContent, stored: StoredVariant | None, family_sku: str, *, position: int, is_primary: bool
) -> VariantDiff:
    parts = PARTS if stored is None else _differing(variant.digests, stored)
    kind = _variant_kind(stored, parts, family_sku, is_primary=is_primary)
    return VariantDiff(kind, position, is_primary, variant, stored, parts)


def _differing(digests: Mapping[Part, bytes], stored: StoredVariant) -> frozenset[Part]:
    before: dict[Part, bytes] = {
        "content": stored.content_digest,
        "prices": stored.prices_digest,
        "imprint": stored.imprint_digest,
        "pictures": stored.pictures_digest,
    }
    return frozenset(part for part, value in digests.items() if before[part] != value)


def _variant_kind(stored: StoredVariant | None, parts: frozenset[Part], family_sku: str, *, is_primary: bool) -> Kind:
    if stored is None:
        return "created"
    if stored.status != "active":
        return "reactivated"
    visible = parts - {"pictures"}
    same = not visible and stored.product_sku == family_sku and stored.is_primary == is_primary
    return "unchanged" if same else "updated"
