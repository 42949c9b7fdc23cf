"""Which documents a family has: a plan names one document and all that its content follows from.

family   the root and its children (the usual shape)
single   the root and one child that carries the root's own SKU
variant  no children: one of several documents that share an ANumber, which is their family
lone     no children, and the supplier's code as ANumber: a family of one
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from app.samplefeed.spec import FeedSpec, SupplierSpec

Shape = Literal["family", "single", "variant", "lone"]

FIRST_NUMBER = 100_000
FLAT_DOCUMENTS = 3
LARGE_FAMILY_TIMES = 3


@dataclass(frozen=True, slots=True)
class DocumentPlan:
    """One document: whose it is, its family's index, its shape, and its variants' numbers (from 1)."""

    supplier: SupplierSpec
    family: int
    shape: Shape
    variants: tuple[int, ...]

    @property
    def family_number(self) -> str:
        """The family's number without the supplier's prefix."""
        return str(FIRST_NUMBER + self.family)

    @property
    def number(self) -> str:
        """The document's number without the supplier's prefix: `100804`, or `100804-001` for a variant's own."""
        if self.shape == "variant":
            return self.variant_number(self.variants[0])
        return self.family_number

    @property
    def sku(self) -> str:
        """The root's SKU, and the stem of the file's name."""
        return f"{self.supplier.code}-{self.number}"

    @property
    def a_number(self) -> str:
        """The family's own number where documents are variants, else the supplier's code."""
        return f"{self.supplier.code}-{self.family_number}" if self.shape == "variant" else self.supplier.code

    def variant_number(self, variant: int) -> str:
        """A variant's number without the supplier's prefix."""
        if self.shape in ("single", "lone"):
            return self.family_number
        return f"{self.family_number}-{variant:03d}"


def supplier_plans(spec: FeedSpec, supplier: SupplierSpec) -> Iterator[DocumentPlan]:
    """All documents of a supplier, in the manifest's order."""
    for family in range(supplier.families):
        yield from family_plans(spec, supplier, family)


def family_plans(spec: FeedSpec, supplier: SupplierSpec, family: int) -> Iterator[DocumentPlan]:
    """The documents of one family: one, or several where each variant has its own."""
    shape = _shape(family) if spec.oddities else "family"
    if shape == "variant":
        for variant in range(1, FLAT_DOCUMENTS + 1):
            yield DocumentPlan(supplier, family, shape, (variant,))
    elif shape == "family":
        yield DocumentPlan(supplier, family, shape, tuple(range(1, _variant_count(spec, family) + 1)))
    else:
        yield DocumentPlan(supplier, family, shape, (1,))


def _shape(family: int) -> Shape:
    if family % 11 == 3:
        return "variant"
    if family % 11 == 7:
        return "single"
    return "lone" if family % 22 == 10 else "family"


def _variant_count(spec: FeedSpec, family: int) -> int:
    if not spec.oddities:
        return spec.variants
    if family == 5 and not spec.small_documents:
        return spec.variants * LARGE_FAMILY_TIMES
    return max(1, spec.variants + (family + 1) % 3 - 1)
