"""A product and its variants, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from types import GenericAlias
from typing import Any, Literal

from pydantic import JsonValue, create_model

from app.views.shapes import LEFT_OUT, Out, example

Texts = dict[str, str]
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
    "name": {"nl": "Tas zwart", "de": "Tasche schwarz"},
    "description": {},
    "shortDescription": {},
    "color": "black",
    "hexColor": "232325",
    "size": None,
    "configuration": {},
    "weightGrams": 120,
    "dimensionsMm": {"length": 300},
    "attributes": {},
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
LISTED_VARIANT = {**VARIANT, "supplier": "A360"}
PRODUCT_EXAMPLE: dict[str, Any] = {**PRODUCT, "variants": [VARIANT]}
CHOSEN: dict[str, Any] = {
    "sku": PRODUCT["sku"],
    "name": PRODUCT["name"],
    "variants": [{"prices": VARIANT["prices"]}],
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
    """One tier of a price schedule, of one currency; `price` is a decimal string of at most four places.

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

    model_config = example(**PRODUCT_EXAMPLE)
    variants: list[Variant]


class ListedVariant(Variant):
    """A variant by itself, with its product and supplier."""

    model_config = example(**LISTED_VARIANT)
    supplier: str


def _chosen(name: str, model: type[Out], **others: Any) -> Any:
    """The model of an answer with `fields`: every member of `model` may be left out."""
    members = {key: (field.annotation, LEFT_OUT) for key, field in model.model_fields.items()}
    return create_model(name, __base__=Out, __doc__=f"What `fields` names of a {model.__name__}.", **members | others)


ChosenOfVariant = _chosen("ChosenOfVariant", Variant)
ChosenOfProduct = _chosen("ChosenOfProduct", ListedProduct, variants=(GenericAlias(list, (ChosenOfVariant,)), LEFT_OUT))
