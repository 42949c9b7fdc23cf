"""Changes to a document, on its JSON: each takes the document and changes it in place."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from app.samplefeed.pictures import PICTURES_AT

Json = dict[str, Any]


def change_price(document: Json, factor: float = 1.1) -> None:
    """Every selling and buying price of every variant, at least a cent up for a factor over one."""
    for part in variants_of(document):
        for region in part["ProductPriceCountryBased"].values():
            for tier in region["RecommendedSellingPrice"] + region["GeneralBuyingPrice"]:
                if not tier["OnRequest"]:
                    tier["Price"] = round(max(tier["Price"] * factor, tier["Price"] + (factor - 1) / 10), 2)


def rename(document: Json, suffix: str = "Plus") -> None:
    """Another name in every language, at the root and its children."""
    for part in (document, *(document["ChildProducts"] or ())):
        for texts in part["ProductDetails"].values():
            texts["Name"] = f"{texts['Name']} {suffix}"


def keep_variants(document: Json, count: int) -> None:
    """Only the first `count` children."""
    document["ChildProducts"] = document["ChildProducts"][:count]


def drop_variant(document: Json, sku: str) -> None:
    """All children but the one named.

    Raises:
        KeyError: the document has no such child.
    """
    left = [child for child in document["ChildProducts"] if child["Sku"] != sku]
    if len(left) == len(document["ChildProducts"]):
        raise KeyError(sku)
    document["ChildProducts"] = left


def copy_variant(document: Json) -> str:
    """One more child, like the last one, under the next free number; gives its SKU.

    Raises:
        ValueError: the document has no child to be like.
    """
    if not document["ChildProducts"]:
        raise ValueError("the document has no variants to copy")
    child = deepcopy(document["ChildProducts"][-1])
    stem, number = document["Sku"], len(document["ChildProducts"]) + 1
    taken = {other["Sku"] for other in document["ChildProducts"]}
    while f"{stem}-{number:03d}" in taken:
        number += 1
    sku = f"{stem}-{number:03d}"
    child.update(Sku=sku, SupplierSku=f"{document['SupplierSku']}-{number:03d}", Ean="")
    document["ChildProducts"].append(child)
    return sku


def swap_primary(document: Json, path: str) -> None:
    """Another picture as the first variant's primary, in every language."""
    part = next(variants_of(document))
    for texts in part["ProductDetails"].values():
        texts["Image"] = {"Url": PICTURES_AT + path, "Description": "", "FileName": path.rpartition("/")[2]}


def variants_of(document: Json) -> Iterator[Json]:
    """The children, or the document itself where it has none."""
    yield from document["ChildProducts"] or [document]
