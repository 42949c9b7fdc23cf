"""What kind of feed is wanted: how many suppliers, families, variants and pictures, how large, how odd."""

from __future__ import annotations

from dataclasses import dataclass

PROFILE_GUID = "7c1f6a52-3d0e-4b8e-9a41-5e2d90c7b613"
FAMILIES_A_SUPPLIER = 22
LANGUAGES_IN_TURN = (("nl", "de", "en", "fr"), ("nl", "de"), ("nl", "de", "en", "es"))
REGIONS_IN_TURN = (("BENELUX", "GERMANY"), ("BENELUX",), ("EURO", "DEU", "FRANCE"))
NAMED_SUPPLIERS = ("A23", "A360", "A461")


@dataclass(frozen=True, slots=True)
class SupplierSpec:
    """One supplier: its code, how many families it has, the languages and price regions that it delivers."""

    code: str
    families: int = FAMILIES_A_SUPPLIER
    languages: tuple[str, ...] = LANGUAGES_IN_TURN[0]
    regions: tuple[str, ...] = REGIONS_IN_TURN[0]


def suppliers(count: int, families: int) -> tuple[SupplierSpec, ...]:
    """`count` suppliers of `families` each: A23, A360, A461, then A500, A501 and so on."""
    return tuple(
        SupplierSpec(
            NAMED_SUPPLIERS[index] if index < len(NAMED_SUPPLIERS) else f"A{497 + index}",
            families,
            LANGUAGES_IN_TURN[index % 3],
            REGIONS_IN_TURN[index % 3],
        )
        for index in range(count)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSpec:
    """A feed to be made. Two feeds of one spec are the same feed, whichever process makes them."""

    seed: int = 1
    suppliers: tuple[SupplierSpec, ...] = suppliers(3, FAMILIES_A_SUPPLIER)
    variants: int = 6
    """Variants a family; with `oddities` one more or less by turns."""
    pictures: int = 3
    """Pictures a variant: one primary, the rest gallery."""
    small_documents: bool = False
    """8-40 KB in place of the real 170-850 KB."""
    small_pictures: bool = False
    """2-4 KB and 64-96 pixels in place of the real 60-250 KB and 800-1200 pixels."""
    document_bytes: int | None = None
    """About so large is every document, where it can be: without what real ones have as null, in one language, or
    filled up with imprint positions."""
    picture_bytes: int | None = None
    """About so large is every picture; its sides follow from it."""
    oddities: bool = True
    """Shapes and gaps that real feeds have. Without: every family has exactly `variants` variants with `pictures`
    pictures each, no picture twice."""
    profile_guid: str = PROFILE_GUID

    @classmethod
    def small(cls, *, count: int = 3, families: int = 4, variants: int = 3, oddities: bool = True) -> FeedSpec:
        """A feed for quick tests: `count` suppliers of `families`, small documents, small pictures."""
        return cls(
            suppliers=suppliers(count, families),
            variants=variants,
            small_documents=True,
            small_pictures=True,
            oddities=oddities,
        )
