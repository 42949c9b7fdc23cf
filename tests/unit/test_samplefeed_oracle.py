"""The oracle reads by FEED.md's rules; what it expects is written here by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.samplefeed import FeedSpec, SampleFeed
from tests.support.oracle import comparable, expected_pictures, expected_products, read_products

Json = dict[str, Any]


@pytest.fixture(scope="module")
def feed() -> SampleFeed:
    return SampleFeed(FeedSpec.small(families=12, variants=3))


def test_a_family_with_children_is_read_field_by_field(feed: SampleFeed) -> None:
    document = feed.document("A23-100001")
    child = document["ChildProducts"][1]
    child["ProductDetails"]["de"]["MediaGalleryImages"] = [{"Url": "http://x/extra.jpg"}]
    child["NonLanguageDependedProductDetails"].update(SearchColor="Undefined", Weight=7.50, DimensionsDepth=0)

    product = _read(document)["A23-100001"]
    variant = product["variants"][1]

    assert product["name"]["de"] == document["ProductDetails"]["de"]["Name"]
    assert (product["brand"], product["category"]) == ("Maasvallei & Zn.", "DRINKWARE/BOTTLES")
    assert (product["secondaryCategories"], product["countryOfOrigin"]) == ([], "NL")
    assert [one["isPrimary"] for one in product["variants"]] == [False, True, False, False]
    assert (variant["sku"], variant["productSku"]) == ("A23-100001-002", "A23-100001")
    assert variant["color"] == "rood (± PMS Red)"
    assert (variant["hexColor"], variant["size"], variant["weightGrams"]) == (None, None, "7.5")
    assert variant["dimensionsMm"] == {"height": "389", "diameter": "72.5"}
    assert variant["pictures"][-1] == {"role": "gallery", "position": 3, "address": "http://x/extra.jpg"}
    assert [one["role"] for one in variant["pictures"]] == ["primary", "gallery", "gallery", "gallery"]


def test_prices_come_by_region_kind_and_quantity_and_on_request_without_an_amount(feed: SampleFeed) -> None:
    document = feed.document("A23-100000")
    document["ChildProducts"][0]["ProductPriceCountryBased"] = {
        "EURO": {"RecommendedSellingPrice": [_tier(8.90, 100)], "GeneralBuyingPrice": [_tier(0, 1, ask=True)]},
        "DEU": {"RecommendedSellingPrice": [], "GeneralBuyingPrice": [_tier(3, 50), _tier(4, 1)]},
    }

    prices = _read(document)["A23-100000"]["variants"][0]["prices"]

    assert [(one["region"], one["kind"], one["minQuantity"], one["price"]) for one in prices] == [
        ("DEU", "buying", 1, "4"),
        ("DEU", "buying", 50, "3"),
        ("EURO", "selling", 100, "8.9"),
        ("EURO", "buying", 1, None),
    ]
    assert {(one["currency"], one["onRequest"]) for one in prices} == {("EUR", False), ("EUR", True)}


def test_a_child_without_pictures_shows_the_root_s(feed: SampleFeed) -> None:
    document = feed.document("A23-100001")

    last = _read(document)["A23-100001"]["variants"][-1]

    assert [one["address"] for one in last["pictures"]] == [document["ProductDetails"]["nl"]["Image"]["Url"]]


def test_documents_that_share_a_family_number_are_one_product(feed: SampleFeed) -> None:
    product = expected_products(feed, "A23")["A23-100003"]

    assert [one["sku"] for one in product["variants"]] == [f"A23-100003-00{number}" for number in (1, 2, 3)]


def test_a_document_of_its_own_is_a_product_and_a_variant_of_one_sku(feed: SampleFeed) -> None:
    products = expected_products(feed, "A23")

    for sku in ("A23-100007", "A23-100010"):
        assert [(one["sku"], one["isPrimary"]) for one in products[sku]["variants"]] == [(sku, True)]


def test_the_preferred_region_names_the_primary_variant(feed: SampleFeed) -> None:
    document = feed.document("A23-100000")
    first, second, *_ = (child["Sku"] for child in document["ChildProducts"])
    raw = [("A23-100000.json", json.dumps(document | {"DefaultProducts": {"DEU": first, "EURO": second}}).encode())]

    assert _primary(read_products("A23", raw)) == second
    assert _primary(read_products("A23", raw, regions=("DEU",))) == first


def test_pictures_are_what_the_feed_serves_and_dead_ones_are_left_out(feed: SampleFeed) -> None:
    addresses = expected_pictures(feed, "A360")
    dead = min(addresses)

    whole, less = expected_products(feed, "A360"), expected_products(feed, "A360", dead=[dead])

    assert addresses[dead] in _shown(whole)
    assert addresses[dead] not in _shown(less)
    assert {one["contentType"] for one in _images(whole)} == {"image/jpeg", "image/png"}
    assert all(64 <= one["width"] <= 96 for one in _images(whole))


def test_what_the_api_answers_is_compared_in_one_spelling(feed: SampleFeed) -> None:
    expected = expected_products(feed, "A23")["A23-100001"]
    answer = json.loads(json.dumps(expected)) | {"updatedAt": "now", "attributes": {}}
    answer["variants"].reverse()
    for variant in answer["variants"]:
        variant["imprintPositions"] = []
        variant["weightGrams"] = float(variant["weightGrams"])
        variant["prices"].reverse()
        for price in variant["prices"]:
            price["price"] = price["price"] and f"{float(price['price']):.4f}"
        for image in variant["images"]:
            image["url"] = "http://store/x"

    assert comparable(answer) == expected


def test_a_difference_is_seen(feed: SampleFeed) -> None:
    expected = expected_products(feed, "A23")["A23-100001"]
    answer = json.loads(json.dumps(expected))
    answer["variants"][0]["prices"][0]["price"] = "0.01"

    assert comparable(answer) != expected


def _read(document: Json) -> dict[str, Json]:
    return read_products("A23", [(f"{document['Sku']}.json", json.dumps(document).encode())])


def _tier(price: float, quantity: int, *, ask: bool = False) -> Json:
    return {"Price": price, "Quantity": quantity, "OnRequest": ask, "Valuta": "EURO"}


def _primary(products: dict[str, Json]) -> str:
    return next(str(one["sku"]) for product in products.values() for one in product["variants"] if one["isPrimary"])


def _images(products: dict[str, Json]) -> list[Json]:
    return [image for product in products.values() for variant in product["variants"] for image in variant["images"]]


def _shown(products: dict[str, Json]) -> set[str]:
    return {image["sha256"] for image in _images(products)}
