"""A document reduced to what a reader needs: one language, one region, one price, no nulls. A kilobyte a variant."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

DETAILS = ("Name", "Image", "MediaGalleryImages")
PHYSICAL = ("Category", "SearchColor")
FACTS = ("Sku", "SupplierSku", "ANumber", "Ean")


def sparse(document: Json, *, with_picture: bool) -> Json:
    """The document with the same SKUs and kind of content, and as few bytes as that takes.

    The root's picture stays `with_picture`: a variant without one of its own shows it.
    """
    children = document.get("ChildProducts") or []
    root = _part(document)
    if not with_picture:
        for details in root["ProductDetails"].values():
            details.pop("Image", None)
    return root | {"ChildProducts": [_part(child) | _price(child) for child in children]}


def _part(part: Json) -> Json:
    language, details = next(iter(part["ProductDetails"].items()))
    return {name: part[name] for name in FACTS if part[name]} | {
        "ProductDetails": {language: {name: details[name] for name in DETAILS if details[name]}},
        "NonLanguageDependedProductDetails": {
            name: part["NonLanguageDependedProductDetails"][name] for name in PHYSICAL
        },
    }


def _price(child: Json) -> Json:
    region, values = next(iter(child["ProductPriceCountryBased"].items()))
    kinds = ("RecommendedSellingPrice", "GeneralBuyingPrice")
    return {"ProductPriceCountryBased": {region: values | {kind: values[kind][:1] for kind in kinds}}}
