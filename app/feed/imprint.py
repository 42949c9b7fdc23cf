"""Imprint positions: where a variant can be printed, how, and what it costs. Most of a document's bytes.

    ImprintPositions[] ── ImprintOptions[] ── ImprintCosts[]

Children repeat each other's positions and positions each other's options, so all three levels are read once for
equal bytes, and the results are shared: they are read-only. Everything becomes plain JSON with camelCase keys; what is
absent in the feed is absent here.
"""

from __future__ import annotations

from typing import Any

from app.catalogue.amounts import decimal_text
from app.catalogue.content import price_tiers
from app.feed.attributes import open_fields, plain_fields, without_absent
from app.feed.jsontext import KnownFields, decode, split_list
from app.feed.measures import millimetres_of
from app.feed.node import Memo, Node, Notes, fields_of
from app.feed.pictures import addresses, each_once
from app.feed.prices import read_schedules
from app.feed.texts import read_named
from app.feed.values import amount_of, key_of, list_of

Position = dict[str, Any]

_POSITION_MARKS = frozenset({"PositionCode", "SupplierPositionCode", "ImprintLocationTexts", "ImprintOptions"})
_OPTION_MARKS = frozenset({"Sku", "SupplierSku", "ImprintTexts", "ImprintCosts"})
_COST_MARKS = frozenset({"Sku", "SupplierSku", "Texts", "CalculationType"})
_DIMENSIONS = ("Height", "Width", "Diameter", "Depth", "Length")
_OPTION_FIELDS = {
    "PrintColor": "printColor",
    "PrintColorAsText": "printColorAsText",
    "Dimension": "dimension",
    "FastEditorNumberOfColors": "fastEditorNumberOfColors",
    "ImprintType": "imprintType",
    "SupplierPrintCode": "supplierPrintCode",
    "ChildImprints": "childImprints",
    "ImportantInformation": "importantInformation",
    "IsActiveRegionBased": "isActiveRegionBased",
    "IsActiveCountryBased": "isActiveCountryBased",
    "UnstructuredInformation": "unstructured",
}
_COST_FIELDS = {
    "Requirement": "requirement",
    "IsActiveRegionBased": "isActiveRegionBased",
    "IsActiveCountryBased": "isActiveCountryBased",
    "UnstructuredInformation": "unstructured",
}
_PRICES = ("ProductPriceCountryBased", "ProductPriceRegionBased")
_POSITION = KnownFields(
    ("PositionCode", "SupplierPositionCode", "UnstructuredInformation"), raw=("ImprintLocationTexts", "ImprintOptions")
)
_OPTION = KnownFields(
    ("Sku", "SupplierSku", *(f"Dimensions{name}" for name in _DIMENSIONS), *_OPTION_FIELDS),
    raw=("ImprintTexts", "ImprintCosts", *_PRICES),
)
_COST = KnownFields(
    ("Sku", "SupplierSku", "CalculationType", "CalculationAmount", *_COST_FIELDS), raw=("Texts", *_PRICES)
)


class ImprintReader:
    """Reads the positions of one family, remembering what equal bytes gave."""

    def __init__(self, memo: Memo) -> None:
        self._memo = memo

    def positions(self, node: Node) -> tuple[Position, ...]:
        """The `ImprintPositions` of a child, in order."""
        return self._memo.read(node.raw("ImprintPositions"), node, ".ImprintPositions", self._positions)

    def _positions(self, value: object, notes: Notes) -> tuple[Position, ...]:
        at = Node({}, "", notes)
        items = enumerate(_items(value, _POSITION_MARKS))
        found = (self._memo.read(item, at, f"[{index}]", self._position) for index, item in items)
        return tuple(position for position in found if position)

    def _position(self, value: object, notes: Notes) -> Position:
        node = Node(fields_of(value, "", notes, _POSITION.split), "", notes)
        texts = read_named(node, "ImprintLocationTexts", self._memo)
        unstructured = open_fields(node, "UnstructuredInformation")
        return without_absent(
            {
                "positionCode": node.text("PositionCode"),
                "supplierPositionCode": node.text("SupplierPositionCode"),
                "name": texts.name,
                "description": texts.description,
                "images": _images(node),
                "maxPrintArea": unstructured.get("MaxPrintArea"),
                "unstructured": unstructured,
                "options": self._options(node),
            }
        )

    def _options(self, node: Node) -> list[dict[str, Any]]:
        items = enumerate(_items(node.raw("ImprintOptions"), _OPTION_MARKS))
        found = (self._memo.read(item, node, f".ImprintOptions[{i}]", self._option) for i, item in items)
        return [option for option in found if option]

    def _option(self, value: object, notes: Notes) -> dict[str, Any]:
        node = Node(fields_of(value, "", notes, _OPTION.split), "", notes)
        dimensions = {name.lower(): node.read(f"Dimensions{name}", millimetres_of) for name in _DIMENSIONS}
        return self._priced(
            node,
            texts="ImprintTexts",
            dimensionsMm={name: decimal_text(length) for name, length in dimensions.items() if length},
            costs=self._costs(node),
            **plain_fields(node, _OPTION_FIELDS),
        )

    def _costs(self, node: Node) -> list[dict[str, Any]]:
        items = enumerate(_items(node.raw("ImprintCosts"), _COST_MARKS))
        found = (self._memo.read(item, node, f".ImprintCosts[{i}]", self._cost) for i, item in items)
        return [cost for cost in found if cost]

    def _cost(self, value: object, notes: Notes) -> dict[str, Any]:
        node = Node(fields_of(value, "", notes, _COST.split), "", notes)
        amount = node.read("CalculationAmount", amount_of)
        return self._priced(
            node,
            texts="Texts",
            calculationType=node.text("CalculationType"),
            calculationAmount=None if amount is None else decimal_text(amount),
            **plain_fields(node, _COST_FIELDS),
        )

    def _priced(self, node: Node, *, texts: str, **fields: object) -> dict[str, Any]:
        """What an option and a cost have in common, with their own fields."""
        named = read_named(node, texts, self._memo)
        schedules = read_schedules(node, self._memo)
        return without_absent(
            dict(
                sku=node.read("Sku", key_of),
                supplierSku=node.read("SupplierSku", key_of),
                name=named.name,
                description=named.description,
                prices=price_tiers(schedules.prices),
                priceSettings=schedules.settings,
                **fields,
            )
        )


def _items(value: object, marks: frozenset[str]) -> list[object]:
    shallow = split_list(value)
    return shallow if isinstance(shallow, list) else list_of(decode(shallow), marks)


def _images(position: Node) -> list[str]:
    languages = position.named("ImprintLocationTexts")
    return each_once(url for _, texts in languages for url in addresses(texts, "Images"))
