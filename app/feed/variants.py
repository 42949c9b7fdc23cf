"""Root and children to product and variants: each field from where the feed has it (FEED.md, "Document")."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from app.catalogue.amounts import decimal_text
from app.catalogue.types import FamilyData, PictureData, VariantData
from app.feed.attributes import read_attributes, without_absent
from app.feed.details import Languages, colour_of, hex_of, read_languages, size_of
from app.feed.imprint import ImprintReader
from app.feed.measures import grams_of, millimetres_of
from app.feed.node import Memo, Node, fields_of
from app.feed.pictures import read_pictures
from app.feed.prices import Schedules, read_schedules
from app.feed.values import Unfit, ean_of, key_of, list_of, text_of

_COUNTRY = re.compile("[A-Z]{2,3}")
_DIMENSIONS = ("length", "width", "height", "diameter", "depth")


class Member(msgspec.Struct, frozen=True):
    """A variant still unread: its node, and the root whose pictures it shows when it has none."""

    sku: str
    node: Node
    root: Node


class Facts(msgspec.Struct, frozen=True):
    """What root and children have alike: a product's columns, which a variant keeps among its attributes."""

    brand: str | None
    category: str | None
    secondary_categories: tuple[str, ...]
    country_of_origin: str | None

    def filled_from(self, other: Facts) -> Facts:
        """What is absent here is taken from there."""
        return Facts(
            self.brand or other.brand,
            self.category or other.category,
            self.secondary_categories or other.secondary_categories,
            self.country_of_origin or other.country_of_origin,
        )


class FamilyReader:
    """Reads the members of one family; equal bytes are read once for all of them."""

    def __init__(self, languages: Sequence[str], scheme: str) -> None:
        self._languages = languages
        self._scheme = scheme
        self._memo = Memo()
        self._imprint = ImprintReader(self._memo)
        self._facts: dict[str, Facts] = {}
        self._root_pictures: dict[int, tuple[PictureData, ...]] = {}

    def variant(self, member: Member) -> VariantData:
        """One variant, with all that its child (or its own document) says."""
        node = member.node
        languages = read_languages(node, self._languages)
        plain = node.child("NonLanguageDependedProductDetails")
        configuration = languages.configuration()
        schedules = read_schedules(node, self._memo)
        self._facts[member.sku] = _facts(plain)
        return VariantData(
            sku=member.sku,
            supplier_sku=node.read("SupplierSku", key_of),
            ean=node.read("Ean", ean_of),
            name=languages.texts("Name"),
            description=languages.texts("Description"),
            short_description=languages.texts("ShortDescription"),
            color=colour_of(plain.text("SearchColor"), configuration),
            hex_color=hex_of([plain.get("HexColor"), *_hex_texts(languages)]),
            size=size_of(configuration),
            configuration={name: [field.as_json() for field in fields] for name, fields in configuration.items()},
            weight_grams=plain.read("Weight", grams_of),
            dimensions_mm=_dimensions(plain),
            attributes=self._attributes(node, languages, plain, schedules) | _facts_json(self._facts[member.sku]),
            prices=schedules.prices,
            imprint_positions=self._imprint.positions(node),
            pictures=read_pictures(languages, self._scheme) or self._pictures_of_root(member),
        )

    def family(self, sku: str, root: Node, variants: tuple[VariantData, ...], primaries: Sequence[str]) -> FamilyData:
        """The product: what its root says, and what only the primary variant says (a root is mostly zeros)."""
        primary = next(variant for variant in variants if variant.sku == primaries[0])
        languages = read_languages(root, self._languages)
        plain = root.child("NonLanguageDependedProductDetails")
        facts = _facts(plain).filled_from(self._facts[primaries[0]])
        return FamilyData(
            sku=sku,
            supplier_sku=root.read("SupplierSku", key_of) if root.read("Sku", key_of) == sku else None,
            name=languages.texts("Name") or primary.name,
            description=languages.texts("Description") or primary.description,
            short_description=languages.texts("ShortDescription") or primary.short_description,
            brand=facts.brand,
            category=facts.category,
            secondary_categories=facts.secondary_categories,
            country_of_origin=facts.country_of_origin,
            attributes=self._family_attributes(root, languages, plain),
            primaries=tuple(primaries),
            variants=variants,
        )

    def _pictures_of_root(self, member: Member) -> tuple[PictureData, ...]:
        if member.root is member.node:
            return ()
        key = id(member.root)
        if key not in self._root_pictures:
            self._root_pictures[key] = read_pictures(read_languages(member.root, self._languages), self._scheme)
        return self._root_pictures[key]

    def _attributes(self, node: Node, languages: Languages, plain: Node, schedules: Schedules) -> dict[str, Any]:
        attributes = read_attributes(node, languages, plain, self._memo)
        return attributes | {"priceSettings": schedules.settings} if schedules.settings else attributes

    def _family_attributes(self, root: Node, languages: Languages, plain: Node) -> dict[str, Any]:
        attributes = self._attributes(root, languages, plain, read_schedules(root, self._memo))
        dimensions = {name: decimal_text(length) for name, length in _dimensions(plain).items()}
        weight = plain.read("Weight", grams_of)
        return attributes | without_absent(
            {
                "defaultProducts": default_products(root),
                "dimensionsMm": dimensions,
                "weightGrams": None if weight is None else decimal_text(weight),
            }
        )


def default_products(root: Node) -> dict[str, str]:
    """Region to the SKU of the child that a document names as the region's default."""
    node = root.child("DefaultProducts")
    skus = {region.strip(): node.read(region, key_of) for region in sorted(node.keys())}
    return {region: sku for region, sku in skus.items() if sku}


def _facts(plain: Node) -> Facts:
    return Facts(
        brand=plain.text("Brand"),
        category=plain.text("Category"),
        secondary_categories=_categories(plain),
        country_of_origin=plain.read("CountryOfOrigin", country_of),
    )


def _facts_json(facts: Facts) -> dict[str, Any]:
    return without_absent(
        {
            "brand": facts.brand,
            "category": facts.category,
            "secondaryCategories": list(facts.secondary_categories),
            "countryOfOrigin": facts.country_of_origin,
        }
    )


def _categories(plain: Node) -> tuple[str, ...]:
    """Each once; one that is no text is noted and does not cost the others."""
    texts: list[str | None] = []
    for index, item in enumerate(list_of(plain.get("SecondaryCategories"))):
        try:
            texts.append(text_of(item))
        except Unfit as error:
            plain.note(f"SecondaryCategories[{index}]", str(error))
    return tuple(dict.fromkeys(text for text in texts if text))


def country_of(value: object) -> str | None:
    """An ISO 3166 country, alpha-2 or alpha-3 as the feed gives it, in upper case."""
    text = text_of(value)
    if text and not _COUNTRY.fullmatch(text.upper()):
        raise Unfit(f"{text[:40]!r} is not a country's ISO code")
    return text.upper() if text else None


def _dimensions(plain: Node) -> dict[str, Decimal]:
    lengths = {name: plain.read(f"Dimensions{name.capitalize()}", millimetres_of) for name in _DIMENSIONS}
    return {name: length for name, length in lengths.items() if length}


def _hex_texts(languages: Languages) -> Iterator[object]:
    for _, details in languages.details:
        yield fields_of(details.get("UnstructuredInformation"), "", []).get("HexColor")
