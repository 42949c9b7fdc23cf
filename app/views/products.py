"""A product and its variants, as the API shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import JsonValue

from app.persistence.product_lists import ListExtra, PictureRow, ProductRow, VariantRow
from app.views.shapes import Out, example

Texts = dict[str, str]
PictureAddress = Callable[[str], str]
"""From a picture's key to its address, which is absolute where a caller stands."""
PRODUCT: dict[str, Any] = {
    "sku": "A360-100804",
    "supplier": "A360",
    "name": {"nl": "Tas", "de": "Tasche"},
    "description": {"nl": "Een tas"},
    "shortDescription": {},
    "brand": "Premo",
    "category": "BAGS/SHOPPING_BAGS",
    "secondaryCategories": [],
    "countryOfOrigin": "CN",
    "attributes": {},
    "status": "active",
    "updatedAt": "2026-01-05T03:01:00Z",
}
IMAGE: dict[str, Any] = {
    "role": "primary",
    "position": 0,
    "url": "https://promi.example/media/1f/2e/1f2e.jpg",
    "sha256": "1f2e",
    "width": 800,
    "height": 600,
    "contentType": "image/jpeg",
}
VARIANT: dict[str, Any] = {
    "sku": "A360-100804-001",
    "productSku": "A360-100804",
    "ean": "8712345678906",
    "color": "black",
    "hexColor": "232325",
    "size": None,
    "configuration": {},
    "weightGrams": 120,
    "dimensionsMm": {"length": 300},
    "prices": [
        {
            "region": "BENELUX",
            "kind": "selling",
            "minQuantity": 100,
            "price": "8.98",
            "currency": "EUR",
            "onRequest": False,
        }
    ],
    "imprintPositions": [],
    "images": [IMAGE],
    "isPrimary": True,
    "status": "active",
}
LISTED_PRODUCT = {**PRODUCT, "variantCount": 4, "primaryImageUrl": "https://promi.example/media/1f/2e/1f2e.jpg"}


class ProductBase(Out):
    """What a list and a product alone have in common; texts are by language."""

    sku: str
    supplier: str
    supplier_sku: str | None = None
    name: Texts
    description: Texts
    short_description: Texts
    brand: str | None
    category: str | None
    secondary_categories: list[str]
    country_of_origin: str | None
    attributes: dict[str, JsonValue]
    status: Literal["active", "discontinued"]
    updated_at: datetime


class ListedProduct(ProductBase):
    """A product with how many active variants it has, and its first picture."""

    model_config = example(**LISTED_PRODUCT)
    variant_count: int
    primary_image_url: str | None


class Price(Out):
    """One tier of a price schedule; `price` is a decimal string of at most four places.

    null with `onRequest: true`: the supplier does not tell it, the shop has to ask. null with `onRequest: false`: the
    feed did not say it in a readable way (absent, no number, negative, too small for four places); never 0 for that.
    """

    region: str
    kind: Literal["selling", "buying"]
    min_quantity: int
    price: str | None
    currency: str | None
    on_request: bool


class Image(Out):
    """A stored picture."""

    role: Literal["primary", "gallery"]
    position: int
    url: str
    sha256: str
    width: int
    height: int
    content_type: str


class Variant(Out):
    """A variant; one that is discontinued is listed with its last state."""

    sku: str
    product_sku: str
    supplier_sku: str | None = None
    ean: str | None
    name: Texts
    description: Texts
    short_description: Texts
    color: str | None
    hex_color: str | None
    size: str | None
    configuration: dict[str, JsonValue]
    weight_grams: float | None
    dimensions_mm: dict[str, float]
    attributes: dict[str, JsonValue]
    prices: list[Price]
    imprint_positions: list[dict[str, JsonValue]]
    images: list[Image]
    is_primary: bool
    status: Literal["active", "discontinued"]


class Product(ProductBase):
    """A product with all its variants."""

    model_config = example(**PRODUCT, variants=[VARIANT])
    variants: list[Variant]


def product_json(row: ProductRow) -> dict[str, Any]:
    """A product without its variants, as JSON: what is stored has the API's names already."""
    return {
        "sku": row.sku,
        "supplier": row.supplier,
        **row.content,
        "status": row.status,
        "updatedAt": row.updated_at,
    }


def listed_json(row: ProductRow, extra: ListExtra, address_of: PictureAddress) -> dict[str, Any]:
    """A product as lists show it."""
    url = None if extra.key is None else address_of(extra.key)
    return {**product_json(row), "variantCount": extra.variant_count, "primaryImageUrl": url}


def variants_json(
    product_sku: str, rows: Iterable[VariantRow], pictures: Iterable[PictureRow], address_of: PictureAddress
) -> list[dict[str, Any]]:
    """A product's variants, each with its pictures."""
    shown: dict[int, list[dict[str, Any]]] = {}
    for picture in pictures:
        shown.setdefault(picture.variant_id, []).append(_image(picture, address_of))
    return [_variant(product_sku, row, shown) for row in rows]


def _variant(product_sku: str, row: VariantRow, shown: Mapping[int, list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "sku": row.sku,
        "productSku": product_sku,
        **row.content,
        "prices": row.prices or [],
        "imprintPositions": row.imprint_positions or [],
        "images": shown.get(row.id, []),
        "isPrimary": row.is_primary,
        "status": row.status,
    }


def _image(picture: PictureRow, address_of: PictureAddress) -> dict[str, Any]:
    return {
        "role": picture.role,
        "position": picture.position,
        "url": address_of(picture.key),
        "sha256": picture.sha256,
        "width": picture.width,
        "height": picture.height,
        "contentType": picture.content_type,
    }
