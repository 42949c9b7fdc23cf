"""Imprint positions: most of a document's bytes, and alike within a supplier.

A supplier's options are made and encoded once and then put into every document as they are, which is what makes a
document of several hundred kilobytes cheap.
"""

from __future__ import annotations

from typing import Any

import orjson

from app.samplefeed.pictures import PICTURES_AT, picture_path
from app.samplefeed.prices import schedule, terms, tier
from app.samplefeed.seeded import stream
from app.samplefeed.spec import FeedSpec, SupplierSpec

Json = dict[str, Any]

OPTIONS_A_POSITION = 12
POOL = 24
PLACES = ("front", "back", "left sleeve", "right sleeve", "lid", "handle", "bottom", "inside")
TECHNIQUES = ("SCREEN", "TRANSFER", "ENGRAVING", "EMBROIDERY", "DIGITAL", "PAD")
OPTION_TIERS = (1, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
TEXTS = {
    "nl": ("Zeefdruk", "Instelkosten", "Voorzijde"),
    "de": ("Siebdruck", "Einrichtungskosten", "Vorderseite"),
    "en": ("Screen print", "Set-up costs", "Front"),
    "fr": ("Sérigraphie", "Frais de mise en place", "Face avant"),
    "es": ("Serigrafía", "Gastos de preparación", "Parte delantera"),
}


class ImprintOptions:
    """One supplier's imprint options, encoded once."""

    def __init__(self, spec: FeedSpec, supplier: SupplierSpec) -> None:
        self._supplier = supplier
        self._image = PICTURES_AT + picture_path(spec.seed, supplier.code, "imprint")
        dice = stream(spec.seed, supplier.code, "imprints")
        self._pool = [orjson.dumps(_option(supplier, index, dice.randint(30, 900))) for index in range(POOL)]
        self.bytes_an_option = sum(map(len, self._pool)) // POOL

    def positions(self, options: int, turn: int) -> list[Json]:
        """As many positions as `options` fill, twelve to each; `turn` decides which come first."""
        return [
            self._position(number, min(OPTIONS_A_POSITION, options - start), turn)
            for number, start in enumerate(range(0, options, OPTIONS_A_POSITION))
        ]

    def _position(self, number: int, options: int, turn: int) -> Json:
        place = PLACES[number % len(PLACES)]
        edge = 80 + 10 * number
        code = f"item {place}" if number < len(PLACES) else f"item {place} {number // len(PLACES) + 1}"
        return {
            "PositionCode": f"{code}_{edge}x{edge}mm",
            "ImprintLocationTexts": {
                language: self._location_text(language, code, edge) for language in self._supplier.languages
            },
            "UnstructuredInformation": {"MaxPrintArea": f"{edge} mm x {edge} mm"},
            "ImprintOptions": [
                orjson.Fragment(self._pool[(turn + number * OPTIONS_A_POSITION + at) % POOL]) for at in range(options)
            ],
            "SupplierPositionCode": code,
        }

    def _location_text(self, language: str, code: str, edge: int) -> Json:
        images = [{"Url": self._image, "Description": None, "FileName": None}]
        return {"Images": images, "Name": f"{TEXTS[language][2]} ({code}, {edge} x {edge})", "Description": None}


def _option(supplier: SupplierSpec, index: int, price_cents: int) -> Json:
    code = f"{TECHNIQUES[index % len(TECHNIQUES)]}_OS_{index // len(TECHNIQUES) + 1}C"
    return {
        "ChildImprints": None,
        "PrintColorAsText": None,
        "Dimension": None,
        "FastEditorNumberOfColors": str(index // len(TECHNIQUES) + 1),
        "ImprintTexts": {
            language: {"Name": f"{TEXTS[language][0]} {code}", "Description": None} for language in supplier.languages
        },
        "Sku": f"{supplier.code}-{code}",
        "SupplierSku": code,
        "DimensionsHeight": 0,
        "DimensionsDiameter": 0,
        "DimensionsWidth": 0,
        "DimensionsDepth": 0,
        "ImprintType": None,
        "UnstructuredInformation": None,
        "ProductPriceRegionBased": None,
        "ProductPriceCountryBased": schedule(supplier.regions[:1], price_cents, tiers=OPTION_TIERS),
        "PrintColor": 0,
        "ImprintCosts": [_cost(supplier, f"{code}_S", 2500 + 250 * index)],
        "IsActiveRegionBased": None,
        "IsActiveCountryBased": None,
        "ImportantInformation": None,
        "SupplierPrintCode": f"print {index + 1}",
    }


def _cost(supplier: SupplierSpec, code: str, cents: int) -> Json:
    return {
        "Sku": f"{supplier.code}-{code}",
        "SupplierSku": code,
        "Texts": {language: {"Name": TEXTS[language][1], "Description": None} for language in supplier.languages},
        "ProductPriceRegionBased": None,
        "ProductPriceCountryBased": {supplier.regions[0]: terms([tier(1, cents)], [], pieces=0)},
        "IsActiveRegionBased": None,
        "IsActiveCountryBased": None,
        "CalculationType": "Unique",
        "CalculationAmount": 1,
        "Requirement": None,
        "UnstructuredInformation": None,
    }
