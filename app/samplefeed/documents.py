"""A plan's document, as bytes: every key of the real shape, nulls included.

plan -> traits of family and variants -> details, measures, prices -> filled up with imprint positions
     to the wanted size -> JSON
"""

from __future__ import annotations

from typing import Any

import orjson

from app.samplefeed.details import root_details, variant_details
from app.samplefeed.imprints import ImprintOptions
from app.samplefeed.physical import root_physical, variant_physical
from app.samplefeed.plans import DocumentPlan
from app.samplefeed.prices import TIERS, lowest_tier, schedule
from app.samplefeed.seeded import stream
from app.samplefeed.sparse import sparse
from app.samplefeed.spec import FeedSpec
from app.samplefeed.variants import FamilyTraits, VariantTraits, family_traits, variant_traits

Json = dict[str, Any]

SMALLEST_BYTES, USUAL_BYTES, LARGEST_BYTES = 172_000, 230_000, 845_000


class DocumentMaker:
    """Makes the documents of one feed. Pictures' addresses hold a placeholder for the host (`PICTURES_AT`)."""

    def __init__(self, spec: FeedSpec) -> None:
        self._spec = spec
        self._imprints = {supplier.code: ImprintOptions(spec, supplier) for supplier in spec.suppliers}

    def make(self, plan: DocumentPlan) -> bytes:
        """The document, as compact JSON in UTF-8."""
        family = family_traits(self._spec, plan)
        variants = [variant_traits(self._spec, plan, number) for number in plan.variants]
        children = [self._variant(plan, family, variant) for variant in variants]
        document = self._root(plan, family, children)
        plain_bytes, wanted = len(orjson.dumps(document)), self._spec.document_bytes
        if wanted is not None and wanted < plain_bytes:
            return orjson.dumps(sparse(document, with_picture=self._spec.pictures > 0))
        options = self._options_a_variant(plan, plain_bytes, len(children))
        for turn, child in enumerate(children[:1] if self._spec.small_documents and wanted is None else children):
            child["ImprintPositions"] = self._imprints[plan.supplier.code].positions(options, turn)
        return orjson.dumps(document)

    def _options_a_variant(self, plan: DocumentPlan, bytes_so_far: int, variants: int) -> int:
        """How many imprint options a variant needs, so that the document gets its size."""
        wanted: float | None = self._spec.document_bytes
        if wanted is None:
            if self._spec.small_documents:
                return 1
            dice = stream(self._spec.seed, plan.supplier.code, plan.sku, "size")
            wanted = dice.triangular(SMALLEST_BYTES, LARGEST_BYTES, USUAL_BYTES)
        missing = max(0.0, wanted - bytes_so_far)
        return max(1, round(missing / variants / self._imprints[plan.supplier.code].bytes_an_option))

    def _root(self, plan: DocumentPlan, family: FamilyTraits, children: list[Json]) -> Json:
        if plan.shape in ("variant", "lone"):
            children[0].update(
                ChildProducts=None if plan.family % 2 else [], ChildHasErrors=False, DefaultProducts=None
            )
            return children[0]
        root = _facts(plan.sku, plan.number, plan.a_number) | {
            "ProductDetails": root_details(self._spec, plan, family),
            "ProductPriceCountryBased": lowest_tier(schedule(plan.supplier.regions, family.price_cents)),
            "NonLanguageDependedProductDetails": root_physical(plan, family),
            "Ean": None,
        }
        defaults = _default_products(plan, [child["Sku"] for child in children])
        return {
            "ChildProducts": children,
            "ChildHasErrors": False,
            "DefaultProducts": defaults,
            "ImprintReferences": None,
            **root,
        }

    def _variant(self, plan: DocumentPlan, family: FamilyTraits, variant: VariantTraits) -> Json:
        tiers = TIERS[:3] if self._spec.small_documents else TIERS
        cents, ask = family.price_cents + variant.ordinal, plan.family % 4 == 3
        prices = schedule(plan.supplier.regions, cents, tiers=tiers, ask=ask)
        return _facts(f"{plan.supplier.code}-{variant.number}", variant.number, plan.a_number) | {
            "ProductDetails": variant_details(self._spec, plan, family, variant),
            "ProductPriceCountryBased": prices,
            "NonLanguageDependedProductDetails": variant_physical(self._spec, plan, family, variant),
            "Ean": _ean(plan, variant),
        }


def _facts(sku: str, number: str, a_number: str) -> Json:
    """Every key that root and child have in common, the ones that samples always have as null among them."""
    return {
        "ProductDetails": {},
        "ProductCosts": None,
        "ProductPriceRegionBased": None,
        "ProductPriceCountryBased": {},
        "SamplePriceCountryBased": None,
        "NonLanguageDependedProductDetails": {},
        "BatteryInformation": None,
        "ImprintPositions": None,
        "Ean": None,
        "VideoUrl": None,
        "Sku": sku,
        "SupplierSku": number,
        "ANumber": a_number,
        "UnstructuredInformation": {"ReleaseDate": "01.05.2025", "DeliveryTimeInDays": "12"},
        "ForbiddenRegions": None,
        "RequiredCertificates": None,
        "ProductCertificates": None,
        "Errors": {},
        "Warnings": {},
    }


def _default_products(plan: DocumentPlan, skus: list[str]) -> Json | None:
    """The default child by region: usually the first, sometimes another, sometimes none is named."""
    if plan.family % 4 == 2:
        return None
    return {plan.supplier.regions[0]: skus[1 if plan.family % 4 == 1 and len(skus) > 1 else 0]}


def _ean(plan: DocumentPlan, variant: VariantTraits) -> str:
    """13 digits, sometimes with leading zeros, sometimes empty."""
    if variant.ordinal % 7 == 6:
        return ""
    lead = "0" if plan.family % 5 == 0 else "8"
    return f"{lead}{sum(map(ord, plan.supplier.code)):04d}{plan.family:05d}{variant.ordinal:03d}"
