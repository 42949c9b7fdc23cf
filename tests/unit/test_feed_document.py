import json
import time
from decimal import Decimal
from typing import Any

import pytest

from app.catalogue.types import PictureData, PriceData
from app.errors import DocumentUnreadable
from app.feed.document import read_family
from tests.support.feed_documents import (
    PICTURES,
    child,
    details,
    document,
    family,
    imprint_position,
    picture,
    plain_details,
    raw,
    schedule,
    tier,
    variant,
)


def url(name: str) -> str:
    return f"{PICTURES}/{name}.jpg"


def test_a_family_is_read_value_by_value() -> None:
    found, warnings = family(document())
    assert warnings == ()
    assert (found.sku, found.supplier_sku, found.primaries[0]) == ("A99-100804", "100804", "A99-100804-002")
    assert (found.name, found.brand, found.category) == ({"nl": "Tas"}, "Example Brand", "BAGS/SHOPPING_BAGS")
    assert found.secondary_categories == ("ECO/COTTON",)
    assert found.country_of_origin == "CHN", "the root says nothing, the primary variant does"
    assert found.attributes["defaultProducts"] == {"BENELUX": "A99-100804-002"}
    assert found.attributes["aNumber"] == "A99"


def test_a_variant_is_read_value_by_value() -> None:
    found, warnings = variant()
    assert warnings == ()
    assert (found.sku, found.supplier_sku, found.ean) == ("A99-100804-001", "100804-001", "0871234567890")
    assert found.name == {"nl": "Tas", "de": "Tasche"}
    assert found.description["de"] == "<b>Tasche</b>.Ready to print.<br />"
    assert found.short_description == {}
    assert (found.color, found.hex_color, found.size) == ("Blue", "1f2a44", "XL")
    assert found.weight_grams == Decimal(181)
    assert found.dimensions_mm == {"length": Decimal(283), "height": Decimal("388.5")}
    assert found.configuration["de"][0] == {
        "configurationName": "Color",
        "configurationNameTranslated": "Farbe",
        "configurationValue": "navy",
    }
    assert found.prices == (
        PriceData("BENELUX", "selling", 1, Decimal("10.5"), "EUR", on_request=False),
        PriceData("BENELUX", "selling", 100, Decimal("8.98"), "EUR", on_request=False),
        PriceData("BENELUX", "buying", 1, Decimal("7.6"), "EUR", on_request=False),
    )
    assert found.pictures == (
        PictureData("primary", 0, url("front")),
        PictureData("gallery", 1, url("side")),
        PictureData("gallery", 2, url("back")),
    )


def test_what_has_no_column_is_an_attribute() -> None:
    found, _ = variant()
    assert found.attributes == {
        "aNumber": "A99",
        "brand": "Example Brand",
        "category": "BAGS/SHOPPING_BAGS",
        "countryOfOrigin": "CHN",
        "customsTariffNumber": "42022290",
        "filters": {"Eco": "True"},
        "fragile": False,
        "importantInformation": {"nl": {"ImprintRequired": True}, "de": {"ImprintRequired": True}},
        "isActive": {"nl": True, "de": True},
        "metaKeywords": {"nl": "bag, cotton", "de": "bag, cotton"},
        "outerCarton": {"lengthCm": "55.02", "quantityPerCarton": 92},
        "priceSettings": {
            "BENELUX": {
                "quantityIncrements": 1,
                "minimumOrderQuantity": 25,
                "vatSettingId": 1,
                "vatPercentage": "21",
            }
        },
        "secondaryCategories": ["ECO/COTTON"],
        "unstructured": {"ReleaseDate": "01.05.2025"},
        "unstructuredTexts": {
            "nl": {"PMSValue": "navy", "HexColor": "1F2A44"},
            "de": {"PMSValue": "navy", "HexColor": "1F2A44"},
        },
        "usbItem": False,
        "webShop": {
            "nl": {"Material": {"label": "Material", "value": "Cotton"}},
            "de": {"Material": {"label": "Material", "value": "Cotton"}},
        },
        "webShopPlain": {"MaterialWeight": "140 g/m2"},
    }


def test_an_imprint_position_keeps_its_options_costs_and_prices() -> None:
    found, _ = variant()
    (position,) = found.imprint_positions
    (option,) = position.pop("options")
    (cost,) = option.pop("costs")
    settings = {"quantityIncrements": 1, "minimumOrderQuantity": 25, "vatSettingId": 1, "vatPercentage": "21"}
    assert position == {
        "positionCode": "front",
        "supplierPositionCode": "item front",
        "name": {"nl": "Voorkant", "de": "Vorderseite"},
        "images": [url("position")],
        "maxPrintArea": "200 x 120 mm",
        "unstructured": {"MaxPrintArea": "200 x 120 mm"},
    }
    assert option == {
        "sku": "A99-SCREEN-1C",
        "supplierSku": "SCREEN-1C",
        "name": {"nl": "Zeefdruk 1 kleur", "de": "Siebdruck"},
        "dimensionsMm": {"height": "120"},
        "printColor": 1,
        "priceSettings": {"BENELUX": settings},
        "prices": [_imprint_price(1, "4.9"), _imprint_price(50, "3.41")],
    }
    assert cost == {
        "sku": "A99-SETUP",
        "supplierSku": "SETUP",
        "name": {"nl": "Instelkosten"},
        "calculationType": "Unique",
        "calculationAmount": "1",
        "priceSettings": {"BENELUX": settings},
        "prices": [_imprint_price(1, "43.5")],
    }


def _imprint_price(quantity: int, price: str) -> dict[str, Any]:
    return {
        "region": "BENELUX",
        "kind": "selling",
        "minQuantity": quantity,
        "price": price,
        "currency": "EUR",
        "onRequest": False,
    }


@pytest.mark.parametrize(
    ("price", "read", "warned"),
    [
        ("12,50", Decimal("12.5"), False),
        ("1.234,50", Decimal("1234.5"), False),
        ("8.98", Decimal("8.98"), False),
        (0, Decimal(0), False),
        ("free", None, True),
        ("1.234", None, True),
        (True, None, True),
        (-1, None, True),
        (10**12, None, True),
        (float("nan"), None, True),
        (float("inf"), None, True),
        (None, None, False),
    ],
)
def test_a_price_of_another_type_is_read_as_meant_or_absent(price: object, read: Decimal | None, warned: bool) -> None:
    found, warnings = variant(ProductPriceCountryBased={"BENELUX": schedule(tier(price, "1"))})
    assert found.prices == (PriceData("BENELUX", "selling", 1, read, "EUR", on_request=False),)
    place = "ChildProducts[0].ProductPriceCountryBased.BENELUX.RecommendedSellingPrice[0].Price"
    assert [(one.field, one.sku) for one in warnings] == ([(place, "A99-100804-001")] if warned else [])


def test_a_price_of_zero_on_request_means_ask() -> None:
    found, _ = variant(
        ProductPriceCountryBased={"DEU": schedule(tier(0, 1, on_request=True), tier(5, 9, on_request="True"))}
    )
    assert found.prices == (
        PriceData("DEU", "selling", 1, None, "EUR", on_request=True),
        PriceData("DEU", "selling", 9, Decimal(5), "EUR", on_request=True),
    )


def test_regions_are_open_names_and_the_second_source_adds_to_the_first() -> None:
    found, _ = variant(
        ProductPriceCountryBased={"EURO": schedule(tier(2, 1)), "DEU": schedule(tier(1, 1, valuta="chf"))},
        ProductPriceRegionBased={"EURO": schedule(tier(9, 1)), "ASIA": schedule(tier(3, 1))},
    )
    assert [(price.region, price.price, price.currency) for price in found.prices] == [
        ("ASIA", Decimal(3), "EUR"),
        ("DEU", Decimal(1), "CHF"),
        ("EURO", Decimal(2), "EUR"),
    ]


def test_of_two_prices_for_one_quantity_the_last_counts_with_a_warning_if_they_differ() -> None:
    same, quiet = variant(ProductPriceCountryBased={"BENELUX": schedule(tier(5, 1), tier(5, 1))})
    other, warned = variant(ProductPriceCountryBased={"BENELUX": schedule(tier(5, 1), tier(4, 1))})
    assert (len(same.prices), quiet) == (1, ())
    assert [price.price for price in other.prices] == [Decimal(4)]
    assert "the last that can be read counts" in warned[0].reason


@pytest.mark.parametrize(
    ("tiers", "kept", "warned"),
    [
        ((tier(8.98, 1), tier("free", 1)), ["8.98 EUR"], True),
        ((tier("free", 1), tier(8.98, 1)), ["8.98 EUR"], True),
        ((tier(8.98, 1), tier(None, 1)), ["8.98 EUR"], True),
        ((tier(8.98, 1), tier(-1, 1, valuta="USD")), ["8.98 EUR"], True),
        ((tier("free", 1), tier(None, 1)), ["None EUR"], True),
        ((tier(8.98, 1), tier(0, 1, on_request=True)), ["None EUR"], True),
        ((tier(8.98, 1), tier(8.98, 1, valuta=None)), ["8.98 EUR"], False),
        ((tier(8.98, 1, valuta=None), tier(8.98, 1)), ["8.98 EUR"], False),
        ((tier(9, 1, valuta=None), tier(8.98, 1)), ["8.98 EUR"], True),
        ((tier(8.98, 1), tier(9, 1, valuta=None)), ["9 None"], True),
        ((tier(9.9, 1, valuta="USD"), tier(8.98, 1)), ["8.98 EUR", "9.9 USD"], False),
        ((tier(8, 1), tier(9.9, 1, valuta="USD"), tier(8.98, 1)), ["8.98 EUR", "9.9 USD"], True),
        ((tier(8.98, 1), tier(9.9, 1, valuta="USD"), tier(8.98, 1, valuta=None)), ["8.98 EUR", "9.9 USD"], False),
    ],
)
def test_of_two_prices_for_one_quantity_and_currency_the_last_that_can_be_read_counts(
    tiers: tuple[dict[str, Any], ...], kept: list[str], warned: bool
) -> None:
    found, warnings = variant(ProductPriceCountryBased={"BENELUX": schedule(*tiers, tier(1, 9))})
    assert [f"{price.price} {price.currency}" for price in found.prices] == [*kept, "1 EUR"]
    assert bool(warnings) is warned


@pytest.mark.parametrize(
    ("tiers", "kept"),
    [
        ([tier(5, None)], 0),
        ([tier(5, -1)], 0),
        ([tier(5, 2**31)], 0),
        ([tier(5, 1, valuta="gold")], 1),
        (["soon"], 0),
        ({"0": tier(5, 1), "1": tier(4, "2")}, 2),
        ([tier(5, "100 stuks"), tier(4, "250 st")], 2),
        (tier(5, 1), 1),
    ],
)
def test_tiers_that_make_no_sense_do_not_cost_their_neighbours(tiers: object, kept: int) -> None:
    found, warnings = variant(
        ProductPriceCountryBased={"BENELUX": {"RecommendedSellingPrice": tiers, "GeneralBuyingPrice": [tier(1, 1)]}}
    )
    assert [price.kind for price in found.prices] == ["selling"] * kept + ["buying"]
    assert bool(warnings) is (kept == 0 or found.prices[0].currency is None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Name": ["Tas"]}, {"nl": "Tas"}),
        ({"Name": []}, {}),
        ({"Name": ""}, {}),
        ({"Name": 42}, {"nl": "42"}),
    ],
)
def test_a_name_of_another_type_is_read_as_meant(changes: dict[str, object], expected: dict[str, str]) -> None:
    found, warnings = variant(ProductDetails={"nl": details("x", "y", **changes), "en": None})
    assert found.name == expected
    assert warnings == ()


@pytest.mark.parametrize("value", ["a\0b", "\ud800", {"a": 1}, True])
def test_a_name_that_cannot_be_kept_is_absent_with_a_warning(value: object) -> None:
    body = document(child(ProductDetails={"nl": details("x", "y", Name=value), "de": details("Tasche", "Farbe")}))
    found, warnings = family(_escaped(body))
    assert found.variants[0].name == {"de": "Tasche"}
    assert [warning.field for warning in warnings] == ["ChildProducts[0].ProductDetails.nl.Name"]


def _escaped(body: object) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("changes", "colour"),
    [
        ({"SearchColor": "Undefined"}, "navy"),
        ({"SearchColor": None}, "navy"),
        ({"SearchColor": "Black"}, "Black"),
    ],
)
def test_colour_is_the_search_colour_unless_it_is_undefined(changes: dict[str, object], colour: str) -> None:
    found, _ = variant(NonLanguageDependedProductDetails=plain_details(**changes))
    assert found.color == colour


def test_colour_and_size_are_found_by_what_the_translated_name_means() -> None:
    fields = [
        {"ConfigurationName": "49P_CONFIG_1", "ConfigurationNameTranslated": "Farbe:", "ConfigurationValue": "rot"},
        {"ConfigurationName": "49P_CONFIG_2", "ConfigurationNameTranslated": "Größe", "ConfigurationValue": "M "},
    ]
    found, _ = variant(
        NonLanguageDependedProductDetails=plain_details(SearchColor="undefined"),
        ProductDetails={"de": details("x", "y", ConfigurationFields=fields)},
    )
    assert (found.color, found.size) == ("rot", "M")
    fields[1]["ConfigurationNameTranslated"] = "Gro\u0308\u00dfe"
    assert variant(ProductDetails={"de": details("x", "y", ConfigurationFields=fields)})[0].size == "M", "decomposed"
    assert found.configuration["de"][1]["configurationValue"] == "M ", "configuration is kept as it is"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("#1F2A44", "1f2a44"), ("ABCDEF", "abcdef"), (232325, "232325"), ("#fff", "1f2a44"), ("blue", "1f2a44")],
)
def test_a_hex_colour_is_six_digits_from_either_place(value: object, expected: str) -> None:
    found, warnings = variant(NonLanguageDependedProductDetails=plain_details(HexColor=value))
    assert (found.hex_color, warnings) == (expected, ())
    listed = details("x", "y", UnstructuredInformation=[{"HexColor": "#0A0B0C"}])
    assert variant(ProductDetails={"nl": listed})[0].hex_color == "0a0b0c", "an object in a list"


@pytest.mark.parametrize("gallery", [{"0": picture("a"), "1": picture("b")}, ["http" + url("a")[5:], picture("b")]])
def test_a_gallery_may_be_an_object_or_hold_plain_addresses(gallery: object) -> None:
    found, warnings = variant(ProductDetails={"nl": details("x", "y", MediaGalleryImages=gallery)})
    assert len(found.pictures) == 3
    assert warnings == ()


def test_pictures_come_by_preferred_language_each_address_once() -> None:
    found, _ = variant(
        ProductDetails={
            "aa": details("x", "y", Image=picture("aa"), MediaGalleryImages=[picture("side")]),
            "de": details("x", "y", Image=picture("de"), MediaGalleryImages=[picture("front"), picture("de2")]),
            "nl": details("x", "y", MediaGalleryImages=[picture("side"), picture("front"), picture("side")]),
        }
    )
    assert [one.url for one in found.pictures] == [url(name) for name in ("front", "side", "de", "de2", "aa")]
    assert [one.role for one in found.pictures] == ["primary", *["gallery"] * 4]


@pytest.mark.parametrize(
    ("written", "again"),
    [
        ("x y.jpg", "x%20y.jpg"),
        ("x%20y.jpg", "x y.jpg"),
        ("é.jpg", "%C3%A9.jpg"),
        ("front.jpg?", "front.jpg"),
        ("front.jpg#a", "front.jpg#b"),
        ("50%.jpg", "50%25.jpg"),
    ],
)
def test_addresses_of_one_request_are_one_picture_as_it_is_written_first(written: str, again: str) -> None:
    first, second = ({"Url": f"{PICTURES}/{name}"} for name in (written, again))
    found, warnings = variant(
        ProductDetails={
            "nl": details("x", "y", Image=first, MediaGalleryImages=[second, first]),
            "de": details("x", "y", Image=second, MediaGalleryImages=["HTTPS" + f"{PICTURES}/{again}"[5:]]),
        },
        ImprintPositions=[{"ImprintLocationTexts": {"de": {"Images": [first]}, "nl": {"Images": [second]}}}],
    )
    assert found.pictures == (PictureData("primary", 0, first["Url"]),)
    assert (found.imprint_positions[0]["images"], warnings) == ([first["Url"]], ())


@pytest.mark.parametrize("other", ["%c3%a9.jpg", "e\u0301.jpg", "é.JPG", "é.jpg?v=1", "../LiveR2/é.jpg"])
def test_addresses_of_two_requests_are_two_pictures(other: str) -> None:
    shown = details("x", "y", Image={"Url": f"{PICTURES}/é.jpg"}, MediaGalleryImages=[f"{PICTURES}/{other}"])
    assert len(variant(ProductDetails={"nl": shown})[0].pictures) == 2


def test_a_variant_without_pictures_shows_its_roots() -> None:
    empty = details("x", "y", Image=None, MediaGalleryImages=None)
    found, _ = variant(ProductDetails={"nl": empty})
    assert [one.url for one in found.pictures] == [url("front")]


def test_a_gallery_without_an_image_has_no_primary() -> None:
    found, _ = variant(ProductDetails={"nl": details("x", "y", Image=None)})
    assert [(one.role, one.position) for one in found.pictures] == [("gallery", 0), ("gallery", 1)]


@pytest.mark.parametrize("address", ["ftp://a/b.jpg", "a.jpg", "https://", "https://a/" + "x" * 2000, "http://[", 7])
def test_an_address_that_is_none_is_a_warning(address: object) -> None:
    found, warnings = variant(ProductDetails={"nl": details("x", "y", MediaGalleryImages=[{"Url": address}])})
    assert [one.url for one in found.pictures] == [url("front")]
    assert [one.field for one in warnings] == ["ChildProducts[0].ProductDetails.nl.MediaGalleryImages[0].Url"]


SHOWN = url("front").removeprefix("https:")
AROUND = ["\ufeff{}", "\u200b{}", "{}\u200b", " \u2060\ufeff\u200e{}\u200f\u00a0\n", "\ufeff\ufeff {}"]


@pytest.mark.parametrize("address", [SHOWN, *(f.format(a) for f in AROUND for a in (SHOWN, "https:" + SHOWN))])
def test_an_address_is_read_without_a_scheme_and_what_shows_nothing_around_it(address: str) -> None:
    shown = details("x", "y", Image={"Url": address}, MediaGalleryImages=[address, picture("front"), picture("side")])
    found, warnings = variant(ProductDetails={"nl": shown})
    assert [one.url for one in found.pictures] == [url("front"), url("side")]
    assert warnings == ()


@pytest.mark.parametrize("positions", [None, [], {}, ""])
def test_no_imprint_positions_are_none(positions: object) -> None:
    found, warnings = variant(ImprintPositions=positions)
    assert (found.imprint_positions, warnings) == ((), ())


@pytest.mark.parametrize(
    "positions", [imprint_position(), {"0": imprint_position()}, {"a": imprint_position()}, [[imprint_position()]]]
)
def test_imprint_positions_may_come_as_an_object(positions: object) -> None:
    usual, _ = variant()
    found, warnings = variant(ImprintPositions=positions)
    assert (found.imprint_positions, warnings) == (usual.imprint_positions, ())


def test_a_warning_in_repeated_positions_names_every_place() -> None:
    odd = imprint_position() | {"PositionCode": {"nested": 1}}
    _, warnings = family(document(child("001", ImprintPositions=[odd]), child("002", ImprintPositions=[odd])))
    assert [(one.field, one.sku) for one in warnings] == [
        ("ChildProducts[0].ImprintPositions[0].PositionCode", "A99-100804-001"),
        ("ChildProducts[1].ImprintPositions[0].PositionCode", "A99-100804-002"),
    ]


def test_texts_of_an_imprint_option_are_read_as_meant_too() -> None:
    position = imprint_position()
    position["ImprintOptions"][0]["ImprintTexts"] = {"nl": {"Name": ["Zeef", "druk"], "Description": 7}, "de": "x"}
    found, warnings = variant(ImprintPositions=[position])
    option = found.imprint_positions[0]["options"][0]
    assert (option["name"], option["description"]) == ({"nl": "Zeef druk"}, {"nl": "7"})
    assert [one.field for one in warnings] == ["ChildProducts[0].ImprintPositions[0].ImprintOptions[0].ImprintTexts.de"]


@pytest.mark.parametrize(
    ("ean", "read", "warned"),
    [(8712345678901, "8712345678901", False), ("8.71E+12", None, True), ("", None, False), (8.71e20, None, True)],
)
def test_an_ean_is_text(ean: object, read: str | None, warned: bool) -> None:
    found, warnings = variant(Ean=ean)
    assert (found.ean, [one.field for one in warnings]) == (read, ["ChildProducts[0].Ean"] if warned else [])


def test_a_configuration_name_of_accents_is_none_at_once() -> None:
    accents = {"ConfigurationNameTranslated": "Farbe a" + "\u0300\u0316" * 20_000, "ConfigurationValue": "navy"}
    began = time.process_time()
    found, _ = variant(
        ProductDetails={"de": details("x", "y", ConfigurationFields=[accents])},
        NonLanguageDependedProductDetails=plain_details(SearchColor="Undefined"),
    )
    assert (found.color, time.process_time() - began < 1) == (None, True)


def test_a_region_twice_is_a_warning() -> None:
    first, last = schedule(tier(8, 1)), schedule(tier(9, 1))
    for regions, warned in (
        ({"EURO": first, "EURO ": last}, True),
        ({"EURO ": last, "EURO": first}, True),
        ({"EURO": last, "EURO ": dict(last)}, False),
        ({"EURO": last, "EURO ": {}}, False),
        ({" EURO": {}, "EURO": last}, False),
    ):
        found, warnings = variant(ProductPriceCountryBased=regions)
        assert [(one.region, one.price) for one in found.prices] == [("EURO", Decimal(9))]
        told = [(one.field, one.reason) for one in warnings]
        expected = ("ChildProducts[0].ProductPriceCountryBased.EURO ", "a second region EURO; the last one counts")
        assert told == ([expected] if warned else [])


def test_a_child_twice_is_one_variant_and_a_warning() -> None:
    found, warnings = family(
        document(child("001"), child("001", Sku="A99-100804-001 "), child("001", Sku="a99-100804-001"))
    )
    assert [one.sku for one in found.variants] == ["A99-100804-001", "a99-100804-001"]
    assert [(one.field, "twice" in one.reason) for one in warnings] == [("ChildProducts[1].Sku", True)]


def test_a_child_without_a_sku_is_left_out_with_a_warning() -> None:
    found, warnings = family(document(child("001"), child("002", Sku=None), child("003", Sku="a\0")))
    assert [one.sku for one in found.variants] == ["A99-100804-001"]
    assert {one.field for one in warnings} == {"ChildProducts[1].Sku", "ChildProducts[2].Sku"}


def test_a_family_with_one_child_of_its_own_sku_is_a_product_and_a_variant() -> None:
    found, _ = family(document(child("001", Sku="A99-100804")))
    assert (found.sku, found.primaries[0], [one.sku for one in found.variants]) == ("A99-100804",) * 2 + (
        ["A99-100804"],
    )


def flat(number: str, **changes: object) -> dict[str, Any]:
    return child(number, ANumber="A99-100804", ChildProducts=None, **changes)


def test_documents_that_share_an_anumber_are_one_family_in_any_order() -> None:
    documents = [flat("002"), flat("001", DefaultProducts={"EURO": "A99-100804-002"})]
    found, warnings = family(*documents)
    again, _ = family(*reversed(documents))
    assert (found, warnings) == (again, ())
    assert (found.sku, found.supplier_sku, found.primaries[0]) == ("A99-100804", None, "A99-100804-002")
    assert [one.sku for one in found.variants] == ["A99-100804-001", "A99-100804-002"]
    assert [one.url for one in found.variants[0].pictures] == [url(name) for name in ("front", "side", "back")]


def test_of_two_documents_for_one_variant_the_one_named_after_it_counts() -> None:
    documents = [
        ("A99-100804-001.json", raw(flat("001", Ean="1"))),
        ("0.json", raw(flat("001", Ean="2"))),
    ]
    found, warnings = read_family(documents, supplier="A99", price_regions=(), languages=())
    assert [one.ean for one in found.variants] == ["1"]
    assert "in another document" in warnings[0].reason


def test_a_lone_document_is_a_family_of_one_with_its_own_columns() -> None:
    found, _ = family(child("001", ChildProducts=[]))
    assert (found.sku, found.supplier_sku) == ("A99-100804-001", "100804-001")
    assert [one.sku for one in found.variants] == ["A99-100804-001"]


def test_of_two_documents_with_children_one_speaks_for_the_family() -> None:
    found, warnings = family(document(child("001")), document(child("002")))
    assert [one.sku for one in found.variants] == ["A99-100804-001"]
    assert "left out" in warnings[0].reason


@pytest.mark.parametrize(
    "changes",
    [
        {"ProductDetails": None, "NonLanguageDependedProductDetails": None, "ProductPriceCountryBased": None},
        {"ProductDetails": [], "NonLanguageDependedProductDetails": {}, "ProductPriceCountryBased": ""},
    ],
)
def test_a_child_that_says_nothing_is_a_variant_all_the_same(changes: dict[str, object]) -> None:
    found, warnings = variant(**changes)
    assert (found.name, found.prices, found.color, warnings) == ({}, (), None, ())


def test_what_says_nothing_beside_a_value_changes_nothing() -> None:
    usual, _ = variant()
    sections = ("ProductDetails", "NonLanguageDependedProductDetails", "ProductPriceCountryBased")
    found, warnings = variant(
        **{key: [child()[key], None] for key in sections},
        Sku=["A99-100804-001", ""],
        SupplierSku=["", "100804-001"],
        Ean=["0871234567890", None],
        ImprintPositions=[None, imprint_position()],
    )
    assert (found, warnings) == (usual, ())


@pytest.mark.parametrize("key", ["ProductDetails", "NonLanguageDependedProductDetails", "ProductPriceCountryBased"])
@pytest.mark.parametrize("value", ["text", 7, [1, 2], True])
def test_a_section_of_another_type_is_a_warning(key: str, value: object) -> None:
    found, warnings = variant(**{key: value})
    assert found.sku == "A99-100804-001"
    assert [one.field for one in warnings] == [f"ChildProducts[0].{key}"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("CountryOfOrigin", "China"), ("Weight", -5), ("Weight", "heavy"), ("Fragile", "maybe"), ("Brand", "a\0")],
)
def test_a_field_that_makes_no_sense_is_absent_and_named(field: str, value: object) -> None:
    _, warnings = variant(NonLanguageDependedProductDetails=plain_details(**{field: value}))
    assert [one.field for one in warnings] == [f"ChildProducts[0].NonLanguageDependedProductDetails.{field}"]


def test_a_secondary_category_that_is_none_does_not_cost_the_others() -> None:
    found, warnings = variant(NonLanguageDependedProductDetails=plain_details(SecondaryCategories=["A", {"x": 1}, "B"]))
    assert found.attributes["secondaryCategories"] == ["A", "B"]
    assert [one.field.rpartition(".")[2] for one in warnings] == ["SecondaryCategories[1]"]


def test_open_maps_keep_what_can_be_stored() -> None:
    deep: object = 1
    for _ in range(30):
        deep = {"a": deep}
    found, warnings = variant(
        UnstructuredInformation={"Good": "12,5", "Empty": "", "Number": 12.5, "Nul\0": 1, "Bad": "\0", "Big": 10**30},
        BatteryInformation={"Deep": deep, "List": [None, 1, float("nan")]},
    )
    assert found.attributes["unstructured"] == {"Good": "12,5", "Number": "12.5"}
    assert found.attributes["batteryInformation"] == {"List": [1]}
    reasons = {one.reason for one in warnings}
    assert {"holds a NUL character", "a number out of range", "nested too deep"} <= reasons


def test_a_document_that_is_none_is_named() -> None:
    with pytest.raises(DocumentUnreadable, match="HTML"):
        family(b"<html>")
