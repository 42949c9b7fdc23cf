"""`ProductDetails`: names, texts, pictures and configuration, once for each language."""

from __future__ import annotations

from typing import Any

from app.samplefeed.plans import DocumentPlan
from app.samplefeed.spec import FeedSpec
from app.samplefeed.variants import FamilyTraits, VariantTraits, picture_entry, root_picture
from app.samplefeed.words import COLOUR_WORD, COMPLIANCE, MATERIAL_WORD, SENTENCES, SIZE_WORD

Json = dict[str, Any]


def root_details(spec: FeedSpec, plan: DocumentPlan, family: FamilyTraits) -> Json:
    """By language, what stands at the root of a family with children: no gallery, no configuration."""
    picture = root_picture(spec, plan)
    return {
        language: _language(spec, plan, family, language)
        | {
            "Image": picture_entry(picture, plan.family_number, 0, language),
            "MediaGalleryImages": None,
            "InformationFiles": None,
            "ConfigurationFields": None,
            "UnstructuredInformation": {"SupplierMainCategory": family.article.names[language]},
        }
        for language in languages(spec, plan)
    }


def variant_details(spec: FeedSpec, plan: DocumentPlan, family: FamilyTraits, variant: VariantTraits) -> Json:
    """By language, what a variant says of itself."""
    return {
        language: _language(spec, plan, family, language)
        | _pictures(variant, language)
        | {
            "InformationFiles": [],
            "ConfigurationFields": _configuration(plan, variant, language),
            "UnstructuredInformation": _unstructured(plan, family, variant, language),
        }
        for language in languages(spec, plan)
    }


def languages(spec: FeedSpec, plan: DocumentPlan) -> tuple[str, ...]:
    """The supplier's languages; every sixth family lacks the last one, which is normal."""
    every = plan.supplier.languages
    return every[:-1] if spec.oddities and len(every) > 2 and plan.family % 6 == 2 else every


def _language(spec: FeedSpec, plan: DocumentPlan, family: FamilyTraits, language: str) -> Json:
    name = family.name(language)
    keywords = (f"{name}, {family.model}", None, "")[plan.family % 3]
    return {
        "Name": name,
        "Description": _description(spec, name, language),
        "ShortDescription": SENTENCES[language][0] if plan.family % 2 else None,
        "MetaName": None,
        "MetaDescription": None,
        "MetaKeywords": keywords,
        "Image": None,
        "MediaGalleryImages": None,
        "InformationFiles": None,
        "IsActive": True,
        "ConfigurationFields": None,
        "UnstructuredInformation": {},
        "WebShopInformation": _web_shop(spec, language),
        "PIMV1Information": None,
        "ImportantInformation": {"ImprintRequired": True} if plan.family % 8 == 6 else None,
    }


def _description(spec: FeedSpec, name: str, language: str) -> str:
    sentences = SENTENCES[language]
    if spec.small_documents:
        return f"{name}: {sentences[0]}<br />{sentences[3]}"
    # A full stop without a blank behind it, and HTML, as real descriptions have them.
    return (
        f"<b>{name}</b>. {' '.join(sentences[:2])}{sentences[2]}<br /><br />{' '.join(sentences)}<br />{sentences[3]}"
    )


def _pictures(variant: VariantTraits, language: str) -> Json:
    entries = [picture_entry(path, variant.number, index, language) for index, path in enumerate(variant.pictures)]
    # An absent gallery is null at one variant and empty at the next.
    gallery = entries[1:] or ([] if variant.ordinal % 2 else None)
    return {"Image": entries[0] if entries else None, "MediaGalleryImages": gallery}


def _configuration(plan: DocumentPlan, variant: VariantTraits, language: str) -> list[Json]:
    """The colour, under the supplier's own name in some families, and the size where there are sizes."""
    own_name = plan.family % 9 == 8
    fields = [
        {
            "ConfigurationName": "49P_CONFIG_1" if own_name else "Color",
            "ConfigurationNameTranslated": COLOUR_WORD[language],
            "ConfigurationValue": f"{variant.colour.names[language]} (± PMS {variant.colour.search})",
        }
    ]
    if variant.size is not None:
        fields.append(
            {
                "ConfigurationName": "49P_CONFIG_2" if own_name else "Size",
                "ConfigurationNameTranslated": SIZE_WORD[language],
                "ConfigurationValue": variant.size,
            }
        )
    return fields


def _unstructured(plan: DocumentPlan, family: FamilyTraits, variant: VariantTraits, language: str) -> Json:
    information = {
        "SupplierMainCategory": family.article.names[language],
        "SupplierSearchColor": variant.colour.names[language],
        "SupplierColorCode": f"{variant.ordinal + 1:02d}",
        "PMSValue": variant.colour.search,
    }
    if plan.family % 3 != 1:
        information["HexColor"] = ("#" if variant.ordinal % 2 else "") + variant.colour.hex
    return information


def _web_shop(spec: FeedSpec, language: str) -> Json:
    material = {"InformationLabel": MATERIAL_WORD[language], "InformationValue": "RPET, 140 g/m2"}
    if spec.small_documents:
        return {"Material": material}
    return {
        "Material": material,
        "Compliance": {"InformationLabel": "Compliance", "InformationValue": COMPLIANCE},
        "PackagingInformation": {"InformationLabel": "Polybag", "InformationValue": "1 / 50"},
    }
