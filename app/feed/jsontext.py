"""JSON bytes to Python values, split before they are decoded.

    bytes ── without BOM, UTF-8 ──▶ split: {key: raw bytes of its value} ──▶ decode: only the values that are read

Splitting skips over a value about fifteen times faster than decoding it, and equal raw bytes need to be read only
once (`app.feed.node.Memo`). Numbers keep their text: `8.98` becomes `Decimal("8.98")`, never a binary float.
What msgspec refuses but somebody may have meant (bare NaN, lone surrogates, huge numbers) goes the slow way through
the standard library, so that one odd value does not cost the document.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import TypeVar

import msgspec

from app.errors import DocumentUnreadable

Shape = TypeVar("Shape")

KIND_CUT = "document-cut"
"""The kind of a `DocumentUnreadable` whose bytes end early: transient, unlike whole bytes that are wrong."""

_AROUND = " \t\r\n\xa0\ufeff"
"""JSON's blanks, and what else shows nothing before and behind a document that went through an editor."""
_LONGEST_INTEGER_DIGITS = 4000  # int() of more is refused by Python
_BEGUN_LITERAL = re.compile(
    r"-?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?)?|\.|(?:\.[0-9]+)?[eE][+-]?|-?I[a-z]*|[tfnN][a-zA-Z]*|\\?u?[0-9a-fA-F]{0,4}"
)


def number_from_text(text: str) -> Decimal:
    """A JSON number (or NaN, Infinity) as a decimal; what no decimal can hold is infinite."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")  # an exponent beyond what any column could hold


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _LONGEST_INTEGER_DIGITS else number_from_text(text)


_ANY = msgspec.json.Decoder(float_hook=number_from_text)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_TOLERANT = json.JSONDecoder(
    parse_float=number_from_text, parse_int=_integer, parse_constant=number_from_text, strict=False
)


def decode(value: object) -> object:
    """The value behind raw bytes; any other value is given back as it is."""
    if type(value) is not msgspec.Raw:
        return value
    try:
        return _ANY.decode(value)
    except msgspec.DecodeError:
        return _TOLERANT.decode(bytes(value).decode())


def split_object(value: object) -> object:
    """One level of an object, its values still raw; what is no object is decoded."""
    return _split(value, _OBJECT)


def split_list(value: object) -> object:
    """One level of a list, its items still raw; what is no list is decoded."""
    return _split(value, _LIST)


def _split(value: object, decoder: msgspec.json.Decoder[Shape]) -> object:
    if not isinstance(value, msgspec.Raw):
        return value
    try:
        return decoder.decode(value)
    except msgspec.DecodeError:
        return decode(value)


class KnownFields:
    """Splits objects whose keys are known: `plain` fields are decoded, `raw` ones kept raw, all others skipped.

    Faster than `split_object` where an object has many small fields.
    """

    def __init__(self, plain: Iterable[str], raw: Iterable[str] = ()) -> None:
        fields = [*((name, object, None) for name in plain), *((name, msgspec.Raw, None) for name in raw)]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("KnownFields", fields), float_hook=number_from_text)

    def split(self, value: object) -> object:
        """As `split_object`; a field that is not there is None."""
        if not isinstance(value, msgspec.Raw):
            return value
        try:
            return msgspec.structs.asdict(self._decoder.decode(value))
        except msgspec.DecodeError:
            return decode(value)


def read_object(raw: bytes) -> dict[str, object]:
    """Split a whole document: its keys, with raw values (or decoded ones where it had to be read the slow way).

    Raises:
        DocumentUnreadable: kind `document-cut` when the bytes end early, `document-unreadable` otherwise.
    """
    return open_document(raw, _OBJECT.decode)


def open_document(raw: bytes, quick: Callable[[bytes], dict[str, Shape]]) -> dict[str, object]:
    """Read a document by `quick`, which may raise msgspec's errors, else the tolerant way.

    Raises:
        DocumentUnreadable: as `read_object`.
    """
    body = raw.removeprefix(codecs.BOM_UTF8)
    text = _text_of(body)
    try:
        return dict(quick(body))
    except msgspec.DecodeError:
        return _tolerant_object(text)
    except RecursionError:
        raise too_deep() from None


def _text_of(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        if error.end == len(body) and error.reason == "unexpected end of data":
            raise _cut("the document ends in the middle of a character") from None
        raise DocumentUnreadable(f"not UTF-8: byte {error.start} of {len(body)} {error.reason}") from None
    start = text[:64].lstrip()
    if not start and not text.strip():
        raise _cut("the document is empty")
    if start.startswith("<"):
        raise DocumentUnreadable("an HTML or XML page (a login or an error page?) where a JSON document was expected")
    return text


def _tolerant_object(text: str) -> dict[str, object]:
    text = text.strip(_AROUND)
    try:
        value = _TOLERANT.decode(text)
    except json.JSONDecodeError as error:
        raise _broken(text, error) from None
    except RecursionError:
        raise too_deep() from None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise DocumentUnreadable(f"the document is not an object but {kind_of(value)}")
    return value


def _broken(text: str, error: json.JSONDecodeError) -> DocumentUnreadable:
    rest = text[error.pos :].strip()
    if error.msg.startswith("Unterminated string") or _BEGUN_LITERAL.fullmatch(rest):
        return _cut(f"the JSON ends early, after {len(text)} characters")
    return DocumentUnreadable(f"broken JSON: {error.msg} (line {error.lineno}, column {error.colno})")


def _cut(message: str) -> DocumentUnreadable:
    return DocumentUnreadable(message, KIND_CUT)


def too_deep() -> DocumentUnreadable:
    """Its values are nested deeper than the stack goes."""
    return DocumentUnreadable("nested too deep")


def kind_of(value: object) -> str:
    """What a value is, in a reader's words, for a warning's reason."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | Decimal):
        return "a number"
    names = {str: "a text", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), type(value).__name__)
