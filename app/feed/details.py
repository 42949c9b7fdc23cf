"""What a document says in each language, and what follows from it: names, configuration, colour, size, hex."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from unicodedata import normalize

import msgspec

from app.catalogue.types import Texts
from app.feed.jsontext import KnownFields, split_object
from app.feed.node import Node
from app.feed.values import Unfit, list_of, storable, text_of

_COLOUR_NAMES = frozenset({"color", "colour"})
_SIZE_NAMES = frozenset({"size"})
# fmt: off
_COLOUR_WORDS = frozenset((
    "color", "colour", "colours", "colors", "farbe", "farben", "farve", "farge", "färg", "väri", "kleur", "kleuren",
    "couleur", "couleurs", "colore", "colori", "cor", "cores", "kolor", "kolory", "barva", "farba", "boja", "szín",
    "culoare", "renk", "цвет", "колір", "цвят", "χρώμα", "spalva", "krāsa", "värv",
))
_SIZE_WORDS = frozenset((
    "size", "sizes", "größe", "größen", "grösse", "groesse", "maat", "maten", "taille", "tailles", "talla",
    "tallas", "taglia", "taglie", "tamaño", "tamanho", "rozmiar", "størrelse", "storlek", "koko", "velikost",
    "veľkosť", "veličina", "méret", "mărime", "beden", "размер", "розмір", "μέγεθος", "dydis", "izmērs", "suurus",
))
# fmt: on
_NAME_MAX_CHARS = 255
"""A longer text names nothing; to normalise a row of accents takes its length squared."""
_WORD = re.compile(r"\w+")
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")
_LANGUAGE = KnownFields(
    plain=(
        *("Name", "Description", "ShortDescription", "MetaName", "MetaDescription", "MetaKeywords"),
        *("Image", "MediaGalleryImages", "IsActive", "ConfigurationFields"),
    ),
    raw=("UnstructuredInformation", "WebShopInformation", "ImportantInformation", "InformationFiles"),
)
_FIELD_MARKS = frozenset({"ConfigurationName", "ConfigurationNameTranslated", "ConfigurationValue"})


class Configured(msgspec.Struct, frozen=True):
    """One configuration field of a variant in one language, as it stands in the feed."""

    name: str | None
    translated: str | None
    value: str | None

    def as_json(self) -> dict[str, str | None]:
        """With the keys under which the API shows it."""
        return {
            "configurationName": self.name,
            "configurationNameTranslated": self.translated,
            "configurationValue": self.value,
        }


Configuration = dict[str, list[Configured]]


class Languages(msgspec.Struct, frozen=True):
    """`ProductDetails`: the languages that are there, the preferred ones first, then by code.

    Not in the feed's order, which means nothing, so that a document whose keys were shuffled reads the same.
    """

    details: tuple[tuple[str, Node], ...]

    def texts(self, key: str, joiner: str = " ") -> Texts:
        """The field in every language that has it."""
        found = ((language, node.read(key, lambda value: text_of(value, joiner))) for language, node in self.details)
        return {language: text for language, text in found if text}

    def configuration(self) -> Configuration:
        """Every configuration field of every language."""
        found = {language: _fields(node) for language, node in self.details}
        return {language: fields for language, fields in found.items() if fields}


def read_languages(node: Node, preferred: Sequence[str]) -> Languages:
    """The languages of a document's root or child."""
    rank = {language.casefold(): index for index, language in enumerate(preferred)}
    outer = node.child("ProductDetails", split_object)
    named = [(name.strip(), outer.child(name, _LANGUAGE.split)) for name in sorted(outer.keys())]
    named = [(name, details) for name, details in named if details]
    return Languages(tuple(sorted(named, key=lambda pair: (rank.get(pair[0].casefold(), len(rank)), pair[0]))))


def _fields(details: Node) -> list[Configured]:
    nodes = details.items("ConfigurationFields", _FIELD_MARKS)
    return [
        Configured(
            node.read("ConfigurationName", _as_it_is),
            node.read("ConfigurationNameTranslated", _as_it_is),
            node.read("ConfigurationValue", _as_it_is),
        )
        for node in nodes
        if node
    ]


def _as_it_is(value: object) -> str | None:
    return storable(value) or None if isinstance(value, str) else text_of(value)


def colour_of(search_colour: str | None, configuration: Configuration) -> str | None:
    """`SearchColor` unless it is `Undefined`, else what the configuration says (FEED.md, "Colour")."""
    if search_colour and search_colour.casefold() != "undefined":
        return search_colour
    return _configured(configuration, _COLOUR_NAMES, _COLOUR_WORDS)


def size_of(configuration: Configuration) -> str | None:
    """The `Size` configuration, or the one whose translated name means size."""
    return _configured(configuration, _SIZE_NAMES, _SIZE_WORDS)


def _configured(configuration: Configuration, names: frozenset[str], words: frozenset[str]) -> str | None:
    fields = [field for language in configuration.values() for field in language if field.value and field.value.strip()]
    by_name = (field for field in fields if field.name and field.name.strip().casefold() in names)
    by_meaning = (field for field in fields if field.translated and _means(field.translated, words))
    found = next(by_name, None) or next(by_meaning, None)
    return found.value.strip() if found and found.value else None


def _means(name: str, words: frozenset[str]) -> bool:
    return len(name) <= _NAME_MAX_CHARS and not words.isdisjoint(_WORD.findall(normalize("NFC", name).lower()))


def hex_of(candidates: Iterable[object]) -> str | None:
    """The first of the values, or of a list of them, that is a hex colour, as six lower-case digits."""
    for item in (item for value in candidates for item in list_of(value)):
        found = _HEX.fullmatch(_plain(item))
        if found:
            return found.group(1).lower()
    return None


def _plain(value: object) -> str:
    try:
        return text_of(value) or ""
    except Unfit:
        return ""
