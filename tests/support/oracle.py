"""What the catalogue must hold for a feed, read from the documents anew: FEED.md's rules for well-formed documents.

It shares no line with `app/feed` and `app/catalogue`, so that a rule which they get wrong does not go wrong here, too.

    documents (file name, bytes) of a supplier -> families -> products in the shape of API.md's product JSON

`expected_products` gives what is expected, `comparable` brings what the API answers to the same form: only the fields
that FEED.md names, variants by SKU, prices by region, kind and quantity, numbers in one spelling.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from PIL import Image

from app.samplefeed import SampleFeed

Json = dict[str, Any]

REGIONS = ("BENELUX", "EURO")
LANGUAGES = ("nl", "de", "en", "fr")
COLOUR_NAMES = {"Kleur", "Farbe", "Colour", "Color", "Couleur"}
SIZE_NAMES = {"Maat", "Größe", "Size", "Taille", "Talla"}
KINDS = {"selling": "RecommendedSellingPrice", "buying": "GeneralBuyingPrice"}
DIMENSIONS = ("length", "width", "height", "diameter", "depth")
IMAGE_FIELDS = ("role", "position", "sha256", "width", "height", "contentType")
PRODUCT_FIELDS = (
    "sku",
    "supplier",
    "name",
    "description",
    "shortDescription",
    "brand",
    "category",
    "secondaryCategories",
    "countryOfOrigin",
    "status",
)
VARIANT_FIELDS = (
    "sku",
    "productSku",
    "ean",
    "color",
    "hexColor",
    "size",
    "configuration",
    "isPrimary",
    "status",
)
PRICE_FIELDS = ("region", "kind", "minQuantity", "currency", "onRequest")


def expected_products(feed: SampleFeed, supplier: str, dead: Iterable[str] = ()) -> dict[str, Json]:
    """By SKU, the supplier's products as the API is to answer them (after `comparable`).

    `dead` are addresses that the origin does not answer; a picture that is not stored is not listed.
    """
    products = read_products(supplier, _documents(feed, supplier))
    gone = frozenset(dead)
    for product in products.values():
        for variant in product["variants"]:
            variant["images"] = list(_images(feed, variant.pop("pictures"), gone))
    return products


def expected_pictures(feed: SampleFeed, supplier: str | None = None) -> dict[str, str]:
    """Every address that some variant shows, with the sha256 of what is served there; dead ones are left out."""
    suppliers = feed.suppliers() if supplier is None else (supplier,)
    addresses = {address for code in suppliers for address in _shown(read_products(code, _documents(feed, code)))}
    found = {address: feed.picture_sha256(address) for address in addresses}
    return {address: sha256 for address, sha256 in found.items() if sha256 is not None}


def comparable(product: Json) -> Json:
    """A product of the API, in the form of `expected_products`."""
    variants = sorted(product["variants"], key=lambda variant: str(variant["sku"]))
    return {name: product[name] for name in PRODUCT_FIELDS} | {
        "variants": [_comparable_variant(one) for one in variants]
    }


def read_products(
    supplier: str, documents: Iterable[tuple[str, bytes]], regions: Sequence[str] = REGIONS
) -> dict[str, Json]:
    """By SKU, the products that documents make; a variant's `pictures` are its addresses with role and position."""
    families: dict[str, list[Json]] = {}
    for _, raw in sorted(documents):
        document = json.loads(raw.decode("utf-8-sig"), parse_float=Decimal)
        families.setdefault(_family_sku(document, supplier), []).append(document)
    return {sku: _product(supplier, sku, members, regions) for sku, members in families.items()}


def _documents(feed: SampleFeed, supplier: str) -> Iterator[tuple[str, bytes]]:
    for entry in feed.entries(supplier):
        yield entry.file_name, feed.document_bytes(entry)


def _family_sku(document: Json, supplier: str) -> str:
    if document.get("ChildProducts") or document["ANumber"] in (None, "", supplier):
        return str(document["Sku"]).strip()
    return str(document["ANumber"]).strip()


def _product(supplier: str, sku: str, documents: list[Json], regions: Sequence[str]) -> Json:
    children = [child for document in documents for child in document.get("ChildProducts") or [document]]
    primary = _primary_sku(documents, [child["Sku"].strip() for child in children], regions)
    root = documents[0]
    of_primary = next(child for child in children if child["Sku"].strip() == primary)
    variants = [_variant(sku, child, root) | {"isPrimary": child["Sku"].strip() == primary} for child in children]
    facts, fallback = (part["NonLanguageDependedProductDetails"] for part in (root, of_primary))
    return {
        "sku": sku,
        "supplier": supplier,
        "name": _texts(root, "Name"),
        "description": _texts(root, "Description"),
        "shortDescription": _texts(root, "ShortDescription"),
        "brand": facts["Brand"] or fallback["Brand"] or None,
        "category": facts["Category"] or fallback["Category"] or None,
        "secondaryCategories": facts["SecondaryCategories"] or fallback["SecondaryCategories"] or [],
        "countryOfOrigin": facts["CountryOfOrigin"] or fallback["CountryOfOrigin"] or None,
        "status": "active",
        "variants": sorted(variants, key=lambda variant: str(variant["sku"])),
    }


def _primary_sku(documents: list[Json], skus: list[str], regions: Sequence[str]) -> str:
    for document in documents:
        named = document.get("DefaultProducts") or {}
        for region in (*regions, *sorted(named)):
            if named.get(region) in skus:
                return str(named[region])
    return skus[0]


def _variant(product_sku: str, child: Json, root: Json) -> Json:
    facts = child["NonLanguageDependedProductDetails"]
    by_configuration = facts["SearchColor"] in (None, "", "Undefined")
    return {
        "sku": child["Sku"].strip(),
        "productSku": product_sku,
        "ean": child["Ean"] or None,
        "color": _configured(child, "Color", COLOUR_NAMES) if by_configuration else facts["SearchColor"],
        "hexColor": _hex(child),
        "size": _configured(child, "Size", SIZE_NAMES),
        "configuration": _configuration(child),
        "weightGrams": _number(facts["Weight"] or None),
        "dimensionsMm": _dimensions({name: facts[f"Dimensions{name.capitalize()}"] for name in DIMENSIONS}),
        "prices": sorted(_prices(child["ProductPriceCountryBased"]), key=_price_order),
        "pictures": _pictures(child) or _pictures(root),
        "status": "active",
    }


def _languages(part: Json) -> list[tuple[str, Json]]:
    """What there is, the preferred languages first."""
    details = [(language, texts) for language, texts in part["ProductDetails"].items() if texts]
    return sorted(details, key=lambda pair: (LANGUAGES.index(pair[0]) if pair[0] in LANGUAGES else 99, pair[0]))


def _texts(part: Json, field: str) -> dict[str, str]:
    return {language: texts[field].strip() for language, texts in _languages(part) if texts[field]}


def _configured(child: Json, name: str, translated: set[str]) -> str | None:
    fields = [field for _, texts in _languages(child) for field in texts["ConfigurationFields"] or []]
    named = [field for field in fields if field["ConfigurationName"] == name]
    meant = [field for field in fields if field["ConfigurationNameTranslated"] in translated]
    found = named or meant
    return found[0]["ConfigurationValue"] if found else None


def _configuration(child: Json) -> Json:
    return {
        language: [{name[0].lower() + name[1:]: value for name, value in field.items()} for field in fields]
        for language, texts in _languages(child)
        if (fields := texts["ConfigurationFields"])
    }


def _hex(child: Json) -> str | None:
    candidates = [child["NonLanguageDependedProductDetails"]["HexColor"]]
    candidates += [(texts["UnstructuredInformation"] or {}).get("HexColor") for _, texts in _languages(child)]
    return next((value.lstrip("#").lower() for value in candidates if value), None)


def _prices(by_region: Json | None) -> Iterator[Json]:
    for region, schedule in (by_region or {}).items():
        for kind, field in KINDS.items():
            for tier in schedule[field]:
                asked = tier["OnRequest"] and not tier["Price"]
                yield {
                    "region": region,
                    "kind": kind,
                    "minQuantity": tier["Quantity"],
                    "price": None if asked else _number(tier["Price"]),
                    "currency": "EUR" if tier["Valuta"] == "EURO" else tier["Valuta"],
                    "onRequest": tier["OnRequest"],
                }


def _price_order(price: Json) -> tuple[str, bool, int]:
    return price["region"], price["kind"] == "buying", price["minQuantity"]


def _pictures(part: Json) -> list[Json]:
    languages = [texts for _, texts in _languages(part)]
    primary = [texts["Image"]["Url"] for texts in languages if texts["Image"]][:1]
    listed = [picture for texts in languages for picture in [texts["Image"], *(texts["MediaGalleryImages"] or [])]]
    addresses = dict.fromkeys(primary + [picture["Url"] for picture in listed if picture])
    return [
        {"role": "primary" if [address] == primary else "gallery", "position": position, "address": address}
        for position, address in enumerate(addresses)
    ]


def _shown(products: dict[str, Json]) -> Iterator[str]:
    for product in products.values():
        for variant in product["variants"]:
            yield from (picture["address"] for picture in variant["pictures"])


def _images(feed: SampleFeed, pictures: list[Json], dead: frozenset[str]) -> Iterator[Json]:
    for picture in pictures:
        address = picture.pop("address")
        sha256 = None if address in dead else feed.picture_sha256(address)
        found = feed.picture(address.removeprefix(feed.pictures_origin))
        if sha256 is not None and found is not None:
            width, height, content_type = _picture_facts(found[0])
            yield picture | {"sha256": sha256, "width": width, "height": height, "contentType": content_type}


@lru_cache(maxsize=64)
def _picture_facts(body: bytes) -> tuple[int, int, str]:
    with Image.open(io.BytesIO(body)) as picture:
        return picture.width, picture.height, f"image/{(picture.format or '').lower()}"


def _comparable_variant(variant: Json) -> Json:
    return {name: variant[name] for name in VARIANT_FIELDS} | {
        "weightGrams": _number(variant["weightGrams"]),
        "dimensionsMm": _dimensions(variant["dimensionsMm"] or {}),
        "prices": sorted(
            (
                {name: one[name] for name in PRICE_FIELDS} | {"price": _number(one["price"])}
                for one in variant["prices"]
            ),
            key=_price_order,
        ),
        "images": [{name: image[name] for name in IMAGE_FIELDS} for image in variant["images"]],
    }


def _dimensions(values: Json) -> dict[str, str | None]:
    return {name: _number(value) for name, value in values.items() if value}


def _number(value: Any) -> str | None:
    """One spelling a value: `7.60`, `7.6` and `"7.6000"` are `"7.6"`."""
    if value is None:
        return None
    text = f"{Decimal(str(value)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
