"""Products and variants as JSON, put together from stored pieces without parsing them.

    key, content ─────────────────────────────┐
    variants: content, prices, imprint, images ┴─▶ Form: which members, whose eyes, whose addresses ─▶ one JSON value

Stored JSON has the API's names already. It is looked into only where `fields` chooses among its members, or where a
caller may not see all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import orjson

from app.persistence.packing import unpack_bytes
from app.persistence.product_lists import ListExtra, ProductKey
from app.persistence.variant_lists import VariantKey
from app.persistence.whole_variants import PARTS, VariantPart, WholeVariant
from app.views.buying_prices import json_without_buying
from app.views.picture_addresses import PictureAddresses

Json = list[bytes]
"""A JSON value in pieces, which are joined once, when it is sent: most of what it costs is to copy it."""
CONTENT = b""
"""In place of a member's label: what follows are members with a comma before each, as `_inner` gives them."""
Names = Collection[str] | None
"""Members that are wanted; None for all."""
OWN = frozenset({"sku", "productSku", "isPrimary", "status"})
"""What a variant has beside its parts."""
EXTRAS = frozenset({"variantCount", "primaryImageUrl"})
LAST_KEPT = 8
"""Imprint positions that stay unpacked: the variants of a product mostly share theirs, and follow each other."""


@dataclass(frozen=True, slots=True)
class Form:
    """Which form products and variants are given in."""

    addresses: PictureAddresses
    sees_buying: bool
    product: Names = None
    variant: Names = None
    expanded: bool = True
    """With their variants."""

    @property
    def parts(self) -> Collection[VariantPart]:
        """The parts of variants that have to be read."""
        if self.variant is None:
            return PARTS
        found = {part for part in PARTS if part in self.variant}
        return found | {"content"} if set(self.variant) - OWN - PARTS else found

    @property
    def extras(self) -> bool:
        """Whether anything is wanted that lists count for a product."""
        return not self.expanded if self.product is None else bool(EXTRAS & set(self.product))

    @property
    def product_content(self) -> bool:
        """Whether anything is wanted that stands in a product's content."""
        return self.product is None or bool(set(self.product) - EXTRAS - {"sku", "supplier", "status", "updatedAt"})

    @property
    def stamp(self) -> list[object]:
        """What an answer in this form depends on beside the catalogue."""
        chosen = [None if names is None else sorted(names) for names in (self.product, self.variant)]
        return [self._addresses and self.addresses.stamp, self.sees_buying, self.expanded, *chosen]

    @property
    def _addresses(self) -> bool:
        """Whether addresses of pictures are in it."""
        listed = not self.expanded if self.product is None else "primaryImageUrl" in self.product
        return listed or (self.expanded and "images" in self.parts)


def product_json(
    key: ProductKey,
    content: bytes,
    form: Form,
    *,
    variants: Iterable[WholeVariant] | None = None,
    extra: ListExtra | None = None,
) -> Json:
    """A product with its variants, with what lists count for it, or both; what `fields` does not name is left out."""
    members = [
        b',"sku":', orjson.dumps(key.sku),
        b',"supplier":', orjson.dumps(key.supplier),
        CONTENT, _inner(_visible(content, form)),
        b',"status":', orjson.dumps(key.status),
        b',"updatedAt":', orjson.dumps(key.updated_at, option=orjson.OPT_UTC_Z),
    ]  # fmt: skip
    if extra is not None:
        url = None if extra.key is None else form.addresses.of(extra.key)
        members += (b',"variantCount":', b"%d" % extra.variant_count, b',"primaryImageUrl":', orjson.dumps(url))
    if variants is None or (form.product is not None and "variants" not in form.product):
        return _object(members, form.product)
    sku = orjson.dumps(key.sku)
    items = [piece for item in variants for piece in (b",", *_variant(sku, item, form))][1:]
    return _object(members, form.product, b',"variants":', b"[", *items, b"]")


def variant_alone(key: VariantKey, item: WholeVariant, form: Form) -> Json:
    """A variant as in its product, with its supplier."""
    return _variant(orjson.dumps(key.product_sku), item, form, b',"supplier":', orjson.dumps(key.supplier))


def _variant(product_sku: bytes, item: WholeVariant, form: Form, *more: bytes) -> Json:
    packed = item.imprint_packed
    members = (
        b',"sku":', orjson.dumps(item.sku),
        b',"productSku":', product_sku,
        CONTENT, _inner(_visible(item.content or b"{}", form)),
        b',"prices":', _visible(item.prices or b"[]", form),
        b',"imprintPositions":', b"[]" if packed is None else _unpacked(packed, sees_buying=form.sees_buying),
        b',"images":', b"[]" if item.images is None else form.addresses.in_images(item.images),
        b',"isPrimary":', b"true" if item.is_primary else b"false",
        b',"status":', orjson.dumps(item.status),
        *more,
    )  # fmt: skip
    return _object(members, form.variant)


@lru_cache(maxsize=LAST_KEPT)
def _unpacked(packed: bytes, *, sees_buying: bool) -> bytes:
    return unpack_bytes(packed) if sees_buying else json_without_buying(unpack_bytes(packed))


def _visible(raw: bytes, form: Form) -> bytes:
    return raw if form.sees_buying else json_without_buying(raw)


def _object(members: Sequence[bytes], wanted: Names, *more: bytes) -> Json:
    """One object of these members, labels and values in turn, without those that are not wanted; and of `more`."""
    pieces = [*(members if wanted is None else _chosen(members, wanted)), *more, b"}"]
    pieces[0] = b"{" + pieces[0][1:] if len(pieces) > 1 else b"{}"
    return pieces


def _chosen(members: Sequence[bytes], wanted: Collection[str]) -> Iterator[bytes]:
    for label, value in zip(members[::2], members[1::2], strict=True):
        if label == CONTENT:
            found = {name: part for name, part in orjson.loads(b"{" + value[1:] + b"}").items() if name in wanted}
            if found:
                yield _inner(orjson.dumps(found))
        elif _name(label) in wanted:
            yield label
            yield value


@cache
def _name(label: bytes) -> str:
    return label[2:-2].decode()


def _inner(content: bytes) -> bytes:
    """The members of a stored object, each with a comma before it; none where it has none."""
    return b"" if content == b"{}" else b"," + content[1:-1]
