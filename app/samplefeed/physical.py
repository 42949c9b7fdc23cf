"""`NonLanguageDependedProductDetails`: mostly zeros at the root, the real values at the variants."""

from __future__ import annotations

from typing import Any

from app.samplefeed.plans import DocumentPlan
from app.samplefeed.spec import FeedSpec
from app.samplefeed.variants import FamilyTraits, VariantTraits

Json = dict[str, Any]

BRANDS = ("Noorderlicht", "Maasvallei & Zn.", "Öko Nord", None)
COUNTRIES = ("CHN", "NL", "DEU", "PT")


def root_physical(plan: DocumentPlan, family: FamilyTraits) -> Json:
    """What the root says: category, brand and origin of the family, and zeros."""
    return {
        "LogoToolImageDefined": None,
        "SearchColor": "Undefined",
        "HexColor": None,
        "Fragile": False,
        "Category": family.article.category,
        "SecondaryCategories": _secondary(plan),
        "CountryOfOrigin": COUNTRIES[plan.family % len(COUNTRIES)],
        "ProductFiltersByGroup": None,
        "Weight": 0,
        "DimensionsLength": 0,
        "DimensionsHeight": 0,
        "DimensionsDiameter": 0,
        "DimensionsWidth": 0,
        "DimensionsDepth": 0,
        "Brand": BRANDS[plan.family % len(BRANDS)],
        "USBItem": False,
        "CustomsTariffNumber": None,
    }


def variant_physical(spec: FeedSpec, plan: DocumentPlan, family: FamilyTraits, variant: VariantTraits) -> Json:
    """What a variant says: its measures, colour, filters and, in full documents, its carton."""
    round_article = family.article.category.startswith("DRINKWARE")
    values = root_physical(plan, family) | {
        "SearchColor": "Undefined" if _colour_from_configuration(plan, variant) else variant.colour.search,
        "HexColor": variant.colour.hex if plan.family % 3 == 1 and variant.ordinal % 3 == 0 else None,
        "ProductFiltersByGroup": {"Eco": "True", "GiftWrappingPossible": "True"},
        "Weight": family.article.weight_grams + variant.ordinal,
        "DimensionsLength": 0 if round_article else 283,
        "DimensionsHeight": 388 + variant.ordinal,
        "DimensionsDiameter": 72.5 if round_article else 0,
        "DimensionsWidth": 0 if round_article else 128,
        "CustomsTariffNumber": f"42029{plan.family:05d}",
    }
    return values if spec.small_documents else values | _carton(variant)


def _colour_from_configuration(plan: DocumentPlan, variant: VariantTraits) -> bool:
    return plan.family % 9 == 8 or variant.ordinal % 3 == 2


def _secondary(plan: DocumentPlan) -> list[str] | None:
    return (["ECO/RECYCLED", "NEW/2025"], [], None)[plan.family % 3]


def _carton(variant: VariantTraits) -> Json:
    pieces = 50 + variant.ordinal
    return {
        "OuterCartonLengthCM": 55.02,
        "OuterCartonWidthCM": 43.32,
        "OuterCartonHeightCM": 45.66,
        "OuterCartonWeightNetKG": 18.52,
        "OuterCartonWeightGrossKG": 19.69,
        "OuterCartonQuantityPerCarton": pieces,
        "WebShopInformation": {
            "OuterCartonDimension": "55 x 43 x 46 cm",
            "OuterCartonQuantityPerCarton": str(pieces),
            "OuterCartonWeightNetKG": "18,5",
            "OuterCartonWeightGrossKG": "19,7",
        },
    }
