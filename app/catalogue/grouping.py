"""Which family a document belongs to, which document speaks for it, and which variant stands for it.

Pure rules of FEED.md ("Family", "Primary variant") and ENGINE.md 5; none depends on the order in which documents
arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from app.catalogue.file_names import stem_of
from app.catalogue.types import DocumentOutline


def family_key(outline: DocumentOutline, supplier: str) -> str:
    """The SKU of the family that a document belongs to.

    With children it is the document's own SKU. Without, it is the ANumber where that is a family's number and not just
    the supplier's code, else the document is a family of one.
    """
    if outline.has_children or outline.a_number is None or outline.a_number.casefold() == supplier.casefold():
        return outline.sku
    return outline.a_number


def speaking_document(sku: str, file_names: Iterable[str]) -> str:
    """Of several documents with one SKU the file that counts: the one named after the SKU, else the first by name."""
    names = sorted(file_names)
    return next((name for name in names if stem_of(name) == sku), names[0])


def primaries(default_products: Mapping[str, str], skus: Sequence[str], price_regions: Sequence[str]) -> list[str]:
    """A family's variants in the order in which they stand for it: the first of them that it has does.

    The default of the preferred region, those of other regions, then the feed's order, in which `skus` are. A default
    that is no variant is passed over.
    """
    rank = {region.casefold(): index for index, region in enumerate(price_regions)}
    regions = sorted(default_products, key=lambda region: (rank.get(region.casefold(), len(rank)), region))
    known = set(skus)
    defaults = [default_products[region] for region in regions if default_products[region] in known]
    return list(dict.fromkeys([*defaults, *skus]))
