"""A small document of the delivered shape, with made-up content: a root and two children in two languages."""

from __future__ import annotations

import json
from typing import Any

from app.catalogue.types import FamilyData, ReadingWarning, VariantData
from app.feed.document import read_family

Json = dict[str, Any]
PICTURES = "https://images.example.com/Images/LiveR2/11111111-2222-4333-8444-555555555555"


def picture(name: str) -> Json:
    return {"Url": f"{PICTURES}/{name}.jpg", "Description": "", "FileName": f"{name}.jpg"}


def tier(price: object, quantity: object, *, on_request: object = False, valuta: object = "EURO") -> Json:
    return {"Price": price, "Quantity": quantity, "OnRequest": on_request, "Valuta": valuta}


def schedule(*selling: Json, buying: tuple[Json, ...] = ()) -> Json:
    return {
        "RecommendedSellingPrice": list(selling),
        "GeneralBuyingPrice": list(buying),
        "QuantityIncrements": 1,
        "VatPercentage": 21,
        "MinimumOrderQuantity": 25,
        "VatSettingId": 1,
    }


def details(name: str, translated: str, **changes: object) -> Json:
    return {
        "Name": name,
        "Description": f"<b>{name}</b>.Ready to print.<br />",
        "ShortDescription": None,
        "MetaName": "",
        "MetaDescription": None,
        "MetaKeywords": "bag, cotton",
        "Image": picture("front"),
        "MediaGalleryImages": [picture("side"), picture("back")],
        "InformationFiles": [],
        "IsActive": True,
        "ConfigurationFields": [
            {"ConfigurationName": "Color", "ConfigurationNameTranslated": translated, "ConfigurationValue": "navy"},
            {"ConfigurationName": "Size", "ConfigurationNameTranslated": "x", "ConfigurationValue": "XL"},
        ],
        "UnstructuredInformation": {"PMSValue": "navy", "HexColor": "1F2A44"},
        "WebShopInformation": {"Material": {"InformationLabel": "Material", "InformationValue": "Cotton"}},
        "ImportantInformation": {"ImprintRequired": True},
        **changes,
    }


def plain_details(**changes: object) -> Json:
    return {
        "SearchColor": "Blue",
        "HexColor": None,
        "Category": "BAGS/SHOPPING_BAGS",
        "SecondaryCategories": ["ECO/COTTON"],
        "CountryOfOrigin": "chn",
        "ProductFiltersByGroup": {"Eco": "True"},
        "Weight": 181,
        "DimensionsLength": 283,
        "DimensionsHeight": 388.5,
        "DimensionsDiameter": 0,
        "Brand": "Example Brand",
        "Fragile": False,
        "USBItem": "False",
        "CustomsTariffNumber": "42022290",
        "OuterCartonLengthCM": 55.02,
        "OuterCartonQuantityPerCarton": 92,
        "WebShopInformation": {"MaterialWeight": "140 g/m2"},
        **changes,
    }


def imprint_position(code: str = "front") -> Json:
    costs = {
        "Sku": "A99-SETUP",
        "SupplierSku": "SETUP",
        "Texts": {"nl": {"Name": "Instelkosten", "Description": None}},
        "ProductPriceCountryBased": {"BENELUX": schedule(tier(43.5, 1))},
        "CalculationType": "Unique",
        "CalculationAmount": 1,
        "Requirement": None,
    }
    option = {
        "Sku": "A99-SCREEN-1C",
        "SupplierSku": "SCREEN-1C",
        "ImprintTexts": {"nl": {"Name": "Zeefdruk 1 kleur", "Description": None}, "de": {"Name": "Siebdruck"}},
        "DimensionsHeight": 120,
        "DimensionsWidth": 0,
        "PrintColor": 1,
        "ProductPriceCountryBased": {"BENELUX": schedule(tier(4.9, 1), tier(3.41, 50))},
        "ImprintCosts": [costs],
    }
    return {
        "PositionCode": code,
        "SupplierPositionCode": f"item {code}",
        "ImprintLocationTexts": {
            "nl": {"Name": "Voorkant", "Description": None, "Images": [picture("position")]},
            "de": {"Name": "Vorderseite", "Images": [picture("position")]},
        },
        "UnstructuredInformation": {"MaxPrintArea": "200 x 120 mm"},
        "ImprintOptions": [option],
    }


def child(number: str = "001", **changes: object) -> Json:
    return {
        "Sku": f"A99-100804-{number}",
        "SupplierSku": f"100804-{number}",
        "ANumber": "A99",
        "Ean": "0871234567890",
        "ProductDetails": {"nl": details("Tas", "Kleur"), "de": details("Tasche", "Farbe")},
        "NonLanguageDependedProductDetails": plain_details(),
        "ProductPriceCountryBased": {"BENELUX": schedule(tier(8.98, 100), tier(10.5, 1), buying=(tier(7.6, 1),))},
        "ImprintPositions": [imprint_position()],
        "UnstructuredInformation": {"ReleaseDate": "01.05.2025"},
        "Errors": {},
        **changes,
    }


def document(*children: Json, **changes: object) -> Json:
    return {
        "ChildProducts": list(children or (child("001"), child("002"))),
        "ChildHasErrors": False,
        "DefaultProducts": {"BENELUX": "A99-100804-002"},
        "ProductDetails": {"nl": details("Tas", "Kleur", MediaGalleryImages=None, ConfigurationFields=None)},
        "ProductPriceCountryBased": {"BENELUX": schedule(tier(8.98, 100))},
        "NonLanguageDependedProductDetails": plain_details(SearchColor="Undefined", CountryOfOrigin=None, Weight=0),
        "ImprintPositions": None,
        "Ean": None,
        "Sku": "A99-100804",
        "SupplierSku": "100804",
        "ANumber": "A99",
        "UnstructuredInformation": {},
        "Errors": {},
        **changes,
    }


def raw(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def family(*documents: Json | bytes, supplier: str = "A99") -> tuple[FamilyData, tuple[ReadingWarning, ...]]:
    named = [
        (f"{index}.json", one if isinstance(one, bytes) else raw(one)) for index, one in enumerate(documents, start=1)
    ]
    return read_family(named, supplier=supplier, price_regions=("BENELUX", "EURO"), languages=("nl", "de"))


def variant(**changes: Any) -> tuple[VariantData, tuple[ReadingWarning, ...]]:
    found, warnings = family(document(child(**changes)))
    return found.variants[0], warnings
