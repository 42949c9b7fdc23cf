"""What a document says, once it is read: the values that every later step works on.

Names say where data stands (STYLE.md, habit 11): `...Data` arrived from the feed and was normalised. Texts are
stripped and never empty, an absent text is None or a missing language; numbers are `Decimal`, never binary floats;
sets are tuples in the feed's order. JSON values inside `attributes`, `configuration` and `imprint_positions` are plain
JSON with camelCase keys, as the API shows them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec

Texts = dict[str, str]
"""Language code to text, e.g. `{"nl": "Tas", "de": "Tasche"}`; only languages that have one."""

PriceKind = Literal["selling", "buying"]
PictureRole = Literal["primary", "gallery"]


class ReadingWarning(msgspec.Struct, frozen=True):
    """A value that made no sense and was left out; the rest of the document was taken."""

    field: str
    """Where it stands, as a path in the feed's own names: `ChildProducts[3].Ean`."""
    reason: str
    sku: str | None = None


class PriceData(msgspec.Struct, frozen=True):
    """One tier of a price schedule; `price` is absent only when it is on request or could not be read."""

    region: str
    kind: PriceKind
    min_quantity: int
    price: Decimal | None
    currency: str | None
    on_request: bool


class PictureData(msgspec.Struct, frozen=True):
    """An address that a variant shows; `position` counts from 0 over the variant's pictures, the primary first."""

    role: PictureRole
    position: int
    url: str


class ArticleData(msgspec.Struct, frozen=True):
    """What a family and a variant both have: what it is called."""

    sku: str
    supplier_sku: str | None
    """The supplier's own article number, beside Promidata's."""
    name: Texts
    description: Texts
    short_description: Texts


class VariantData(ArticleData, frozen=True):
    """One variant of a family, as the feed says it is."""

    ean: str | None
    """As text, so that leading zeros stay; its check digit is not looked at."""
    color: str | None
    hex_color: str | None
    """Six lower-case hex digits without `#`."""
    size: str | None
    configuration: dict[str, list[dict[str, str | None]]]
    """Language to that language's configuration fields, every field kept as it is."""
    weight_grams: Decimal | None
    dimensions_mm: dict[str, Decimal]
    """Any of `length`, `width`, `height`, `diameter`, `depth`; zeros are absent."""
    attributes: dict[str, Any]
    prices: tuple[PriceData, ...]
    """Ordered by region, kind (selling first), quantity; one entry a (region, kind, quantity)."""
    imprint_positions: tuple[dict[str, Any], ...]
    pictures: tuple[PictureData, ...]


class FamilyData(ArticleData, frozen=True):
    """A product family: its own fields and all its variants. The whole truth for that family (ENGINE.md 5)."""

    brand: str | None
    category: str | None
    secondary_categories: tuple[str, ...]
    country_of_origin: str | None
    attributes: dict[str, Any]
    primaries: tuple[str, ...]
    """SKUs of the variants in the order in which they stand for the family (FEED.md, "Primary variant").

    The first does, unless another family keeps it: then the next.
    """
    variants: tuple[VariantData, ...]


class DocumentOutline(msgspec.Struct, frozen=True):
    """Just enough of a document to group it and to know which variants it lists, without reading all of it."""

    sku: str
    """The document's own SKU, trimmed."""
    a_number: str | None
    has_children: bool
    child_skus: tuple[str, ...]
    """Trimmed, in order, without repeats; for a document without children its own SKU."""
