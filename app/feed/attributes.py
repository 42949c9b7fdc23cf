"""The fields that have no column of their own and that a shop may want: plain JSON under camelCase names.

Maps whose keys are open in the feed (`UnstructuredInformation`, `WebShopInformation`, filters, regions) keep the
feed's own keys. Decimals are decimal strings; what is empty is absent.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from app.catalogue.amounts import decimal_text
from app.feed.details import Languages
from app.feed.jsontext import decode
from app.feed.measures import centimetres_of, kilograms_of, pieces_of
from app.feed.node import Memo, Node, Notes, fields_of, is_name
from app.feed.pictures import address_of
from app.feed.values import INT8_MAX, MAX_DEPTH, Unfit, flag_of, key_of, storable, text_of

_CARTON = {
    "OuterCartonLengthCM": ("lengthCm", centimetres_of),
    "OuterCartonWidthCM": ("widthCm", centimetres_of),
    "OuterCartonHeightCM": ("heightCm", centimetres_of),
    "OuterCartonWeightNetKG": ("weightNetKg", kilograms_of),
    "OuterCartonWeightGrossKG": ("weightGrossKg", kilograms_of),
}
_KEPT_AS_THEY_ARE = {
    "UnstructuredInformation": "unstructured",
    "VideoUrl": "videoUrl",
    "BatteryInformation": "batteryInformation",
    "ProductCertificates": "productCertificates",
    "RequiredCertificates": "requiredCertificates",
    "ForbiddenRegions": "forbiddenRegions",
    "ProductCosts": "productCosts",
    "SamplePriceCountryBased": "samplePrices",
    "ImprintReferences": "imprintReferences",
    "Errors": "feedErrors",
    "Warnings": "feedWarnings",
}
_FILE_MARKS = frozenset({"Url", "Description", "FileName"})


def read_attributes(node: Node, languages: Languages, plain_details: Node, memo: Memo) -> dict[str, Any]:
    """Everything beside the columns that a root or a child says; `plain_details` are those without a language."""
    found = {
        "aNumber": node.read("ANumber", key_of),
        "childHasErrors": node.read("ChildHasErrors", flag_of) or None,
        **plain_fields(node, _KEPT_AS_THEY_ARE),
        **_by_language(languages, memo),
        **_measured(plain_details),
    }
    return without_absent(found)


def without_absent(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something: null, `""`, `[]` and `{}` are the same as nothing."""
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [], {})}


def _by_language(languages: Languages, memo: Memo) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {
        "metaName": languages.texts("MetaName"),
        "metaDescription": languages.texts("MetaDescription"),
        "metaKeywords": languages.texts("MetaKeywords", ", "),
    }
    found["isActive"] = without_absent({name: node.read("IsActive", flag_of) for name, node in languages.details})
    for name, (key, reader) in _PER_LANGUAGE.items():
        values = {language: memo.read(node.raw(key), node, f".{key}", reader) for language, node in languages.details}
        found[name] = without_absent(values)
    return found


def _web_shop(value: object, notes: Notes) -> dict[str, Any]:
    node = Node(fields_of(decode(value), "", notes), "", notes)
    return without_absent({key: _labelled(node, key) for key in node.keys()})  # noqa: SIM118  # a Node is no mapping


def _labelled(node: Node, key: str) -> dict[str, str] | None:
    if not isinstance(node.get(key), dict):
        value = node.text(key)
        return {"value": value} if value else None
    entry = node.child(key)
    return without_absent({"label": entry.text("InformationLabel"), "value": entry.text("InformationValue")})


def _files(value: object, notes: Notes) -> list[dict[str, str]]:
    files = Node({"": value}, "", notes).items("", _FILE_MARKS)
    found = (
        without_absent(
            {
                "url": file.read("Url", address_of),
                "description": file.text("Description"),
                "fileName": file.text("FileName"),
            }
        )
        for file in files
    )
    return [file for file in found if file.get("url")]


def _open_fields(value: object, notes: Notes) -> dict[str, Any]:
    return open_fields(Node({"": value}, "", notes), "")


def _plain_value(value: object, notes: Notes) -> Any:
    return plain(Node({"": value}, "", notes), "")


_PER_LANGUAGE: dict[str, tuple[str, Callable[[object, Notes], Any]]] = {
    "unstructuredTexts": ("UnstructuredInformation", _open_fields),
    "webShop": ("WebShopInformation", _web_shop),
    "importantInformation": ("ImportantInformation", _plain_value),
    "informationFiles": ("InformationFiles", _files),
}
"""Ours, the feed's key and its reader: what children repeat of each other, so equal bytes are read once."""


def _measured(node: Node) -> dict[str, Any]:
    carton: dict[str, Any] = {name: _decimal(node, key, reader) for key, (name, reader) in _CARTON.items()}
    carton["quantityPerCarton"] = node.read("OuterCartonQuantityPerCarton", pieces_of) or None
    return {
        "filters": open_fields(node, "ProductFiltersByGroup"),
        "fragile": node.read("Fragile", flag_of),
        "usbItem": node.read("USBItem", flag_of),
        "customsTariffNumber": node.read("CustomsTariffNumber", text_of),
        "logoToolImageDefined": plain(node, "LogoToolImageDefined"),
        "outerCarton": without_absent(carton),
        "webShopPlain": open_fields(node, "WebShopInformation"),
    }


def _decimal(node: Node, key: str, reader: Callable[[object], Decimal | None]) -> str | None:
    number = node.read(key, reader)
    return None if number is None else decimal_text(number)


def open_fields(node: Node, key: str) -> dict[str, Any]:
    """A map with open keys as plain JSON; none where something else stands."""
    inner = node.child(key)
    return without_absent({name: plain(inner, name) for name in inner.keys()})  # noqa: SIM118  # a Node is no mapping


def plain_fields(node: Node, names: dict[str, str]) -> dict[str, Any]:
    """The fields of `names` (the feed's key to ours) that are there, each as `plain` gives it."""
    return {name: plain(node, key) for key, name in names.items() if node.raw(key) is not None}


def plain(node: Node, key: str) -> Any:
    """The field as JSON that PostgreSQL and every client can hold; what cannot be held is noted and left out."""
    value = node.get(key)
    return None if value is None else _plain(value, node, key, 0)


def _plain(value: object, node: Node, key: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        node.note(key, "nested too deep")
        return None
    if isinstance(value, dict):
        names = [name for name in value if _is_kept(name, node, key)]
        return without_absent({name: _plain(value[name], node, f"{key}.{name}", depth + 1) for name in names})
    if isinstance(value, list):
        items = (_plain(item, node, f"{key}[{index}]", depth + 1) for index, item in enumerate(value))
        return [item for item in items if item is not None]
    return _scalar(value, node, key)


def _is_kept(name: str, node: Node, key: str) -> bool:
    if is_name(name):
        return True
    node.note(key, "holds a key that cannot be stored")
    return False


def _scalar(value: object, node: Node, key: str) -> Any:
    try:
        return _storable_scalar(value)
    except Unfit as error:
        node.note(key, str(error))
        return None


def _storable_scalar(value: object) -> str | int | bool | None:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and abs(value) <= INT8_MAX:
        return value
    if isinstance(value, Decimal) and value.is_finite() and -20 <= value.adjusted() <= 20:
        return decimal_text(value)
    raise Unfit("a number out of range")
