"""One value of the feed, read as it was meant.

Every function takes whatever JSON value stands there, gives what it means, None where nothing is said (null, `""`, an
empty list or object), and raises `Unfit` where it cannot be known: better absent with a warning than wrong by a
factor of ten.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache

from app.catalogue.amounts import canonical, decimal_text
from app.feed.jsontext import kind_of

INT4_MAX = 2**31 - 1
INT8_MAX = 2**63 - 1
KEY_MAX_CHARS = 255
"""Longer SKUs are no keys: PostgreSQL's index entries end at 2,700 bytes."""
MAX_DEPTH = 16
"""What is nested deeper is not read: Python's own stack ends at some hundred lists."""

_NUMBER_MAX_CHARS = 100
"""A longer text is no number, whatever stands in it; no pattern looks at it."""
_AMOUNT_LIMIT = Decimal(10) ** 10  # numeric(14,4)
_FOUR_PLACES = Decimal("0.0001")
_NO_WIDTH = (
    "\xad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\ufeff"
)
"""What shows nothing: byte-order marks, zero-width blanks, marks of direction."""
_SPACES = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
_EDGES = _NO_WIDTH + _SPACES
_KEY_EDGES = "\ufeff\u2060" + _SPACES
"""Around a SKU: blanks, and what shows nothing, which str.strip does not know."""
_EAN_EDGES = _EDGES + "'\u2018\u2019"
"""Around an EAN also the apostrophe by which a spreadsheet keeps a number as text."""
_BLANK = r"[\s'\u2019\u2018\u02bc\u00b4`]"
"""What groups thousands beside points and commas: blanks of any width, and the apostrophe however it is written."""
_BLANK_GROUPED = re.compile(rf"([+-]?[0-9]{{1,3}}(?:{_BLANK}[0-9]{{3}})+)([.,][0-9]+)?")
_PLAIN = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?|[+-]?[.,][0-9]+")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:([.,])[0-9]{3})(?:\1[0-9]{3})*(?:(?!\1)[.,][0-9]+)?")
_AMBIGUOUS = re.compile(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}")
_EXPONENT = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?\s*[eE]\s*[+-]?[0-9]+")
_HOST = re.compile(r"://([^/?#]*)")
_HOST_MAX_CHARS = 300
"""DNS ends at 253, and a port."""
_EXPANDED = re.compile(r"([0-9]+)[.,]0*")
_SIGN_BEFORE = re.compile(r"^(?:€|EUROS?|EUR)\s*", re.IGNORECASE)
_SIGN_BEHIND = re.compile(r"(?:€|EUROS?|EUR)$", re.IGNORECASE)
"""Without the blanks before it: looked for together with them, every blank of a row is a new beginning."""
_NO_CENTS = re.compile(r"(?<=[0-9])([.,])(?:[-\u2010-\u2015\u2212]{1,2}|=)$")
"""`8,-`: whole euros."""
_TRUE = frozenset(("true", "1", "yes", "y", "on", "ja", "j", "waar", "wahr", "oui", "vrai"))
_FALSE = frozenset(("false", "0", "no", "n", "off", "nein", "nee", "onwaar", "falsch", "non", "faux"))


class Unfit(Exception):
    """The value makes no sense where it stands; the message is the warning's reason."""


def text_of(value: object, joiner: str = " ", depth: int = 0) -> str | None:
    """A stripped text; a number in its own digits; a list of texts joined, `depth` lists down."""
    if isinstance(value, str):
        return storable(value.strip()) or None
    if value is None or value in ([], {}):
        return None
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return _digits_of(value)
    if isinstance(value, list) or is_numbered(value):
        if depth > MAX_DEPTH:
            raise Unfit("nested too deep")
        parts = [text_of(item, joiner, depth + 1) for item in list_of(value)]
        return joiner.join(part for part in parts if part) or None
    raise Unfit(f"{kind_of(value)} where a text was expected")


def only_text_of(value: object) -> str | None:
    """A text that names one thing, a key or an address: several of them make none.

    >>> only_text_of(["A-1"]), only_text_of({"0": 7})
    ('A-1', '7')
    """
    only = only_item(value)
    if isinstance(only, list | dict):
        raise Unfit(f"{kind_of(only)} where one text was expected")
    return text_of(only)


def without_edges(text: str) -> str:
    r"""An address without blanks and zero-width characters around it: pasted from a page or a table, it has them.

    >>> without_edges("\ufeffhttps://host/p.png\u200b ")
    'https://host/p.png'
    """
    return text.strip() if text.isascii() else text.strip(_EDGES)


def has_endless_host(url: str) -> bool:
    """Whether its host is no ASCII and longer than any: to bring a row of accents in order takes its length squared."""
    host = None if url.isascii() else _HOST.search(url)
    return host is not None and len(host[1]) > _HOST_MAX_CHARS


def storable(text: str) -> str:
    """The text itself.

    Raises:
        Unfit: it holds what PostgreSQL refuses, a NUL or half of a surrogate pair.
    """
    if "\0" in text:
        raise Unfit("holds a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unfit("holds half of a surrogate pair") from None
    return text


def key_of(value: object) -> str | None:
    """A SKU: trimmed (no-break spaces too), otherwise kept as it is, with its case."""
    text = only_text_of(value)
    text = text.strip(_KEY_EDGES) if text else None
    if text and len(text) > KEY_MAX_CHARS:
        raise Unfit(f"{len(text)} characters are too many for a key")
    return text or None


def ean_of(value: object) -> str | None:
    """An EAN as text: leading zeros stay; one that went through a spreadsheet (`8.71E+12`) is lost.

    What has no digit but zeros (`n/a`, `-`, `geen`, `0`) says that there is none.
    """
    text = (key_of(value) or "").strip(_EAN_EDGES)
    if not any(character.isdigit() and character != "0" for character in text):
        return None
    if _EXPONENT.fullmatch(text):
        raise Unfit(f"{text}: the digits are lost in an exponent")
    expanded = _EXPANDED.fullmatch(text)
    return expanded[1] if expanded else text


def amount_of(value: object) -> Decimal | None:
    """An amount below ten digits before the point, rounded to four behind it (numeric(14,4)); text as it is meant.

    One so small that four places would make it nothing is unfit: a price of 0 would be a gift.
    """
    if type(value) is Decimal:
        return _bounded(value)
    if type(value) is int and 0 <= value <= INT4_MAX:
        return Decimal(value)
    value = only_item(value)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise Unfit(f"{kind_of(value)} where a number was expected")
    number = _parsed(value) if isinstance(value, str) else Decimal(value)
    return None if number is None else _bounded(number)


def positive_of(value: object) -> Decimal | None:
    """A weight or a length: zero means that nothing is said."""
    number = not_negative_of(value)
    return number or None


def not_negative_of(value: object) -> Decimal | None:
    """A price: an amount that is not below zero."""
    number = amount_of(value)
    if number is not None and number < 0:
        raise Unfit(f"{decimal_text(number)} is below zero")
    return number


def whole_of(value: object) -> int | None:
    """A count, 0 to 2,147,483,647. `"1.234"` can only be meant as 1234 here; `"1.000"` stays unknown."""
    if type(value) is int and 0 <= value <= INT4_MAX:
        return value
    value = only_item(value)
    if isinstance(value, str) and _AMBIGUOUS.fullmatch(value.strip()) and not value.strip().endswith("000"):
        value = re.sub("[.,]", "", value)
    number = amount_of(value)
    if number is None:
        return None
    if number != number.to_integral_value() or not 0 <= number <= INT4_MAX:
        raise Unfit(f"{decimal_text(number)} is not a whole number from 0 to {INT4_MAX}")
    return int(number)


def flag_of(value: object) -> bool | None:
    """True or false, also as `"True"`, `"1"` or 1."""
    value = only_item(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | Decimal) and value in (0, 1):
        return value == 1
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    if not word:
        return None
    raise Unfit(f"{kind_of(value)} where true or false was expected")


def list_of(value: object, marks: frozenset[str] = frozenset()) -> list[object]:
    """The items of a list. An object is one item when it has a key of `marks`, else a map of items.

    A map's items come by number where all keys are numbers, else by key: their order in the feed means nothing.
    """
    if isinstance(value, list):
        return value
    if value is None or value in ("", {}):
        return []
    if not isinstance(value, dict) or not marks.isdisjoint(value):
        return [value]
    if is_numbered(value):
        return [value[key] for key in sorted(value, key=lambda key: (int(key), key))]
    if all(isinstance(item, dict) for item in value.values()):
        return [value[key] for key in sorted(value)]
    return [value]


def is_numbered(value: object) -> bool:
    """Whether this is a list that came as an object: `{"0": …, "1": …}`."""
    return isinstance(value, dict) and all(key.isascii() and key.isdigit() and len(key) < 10 for key in value)


def only_item(value: object) -> object:
    """The item of a list, or of an object in a list's place, that has no more than one; any other value as it is.

    Items that say nothing are none.

    >>> only_item(["A-1", "", None])
    'A-1'
    """
    if isinstance(value, list | dict):
        items = [item for item in list_of(value) if not _says_nothing(item)]
        if len(items) <= 1:
            return items[0] if items else None
    return value


def _says_nothing(value: object) -> bool:
    return not without_edges(value) if isinstance(value, str) else value is None or value in ([], {})


def _digits_of(value: int | Decimal) -> str:
    if isinstance(value, int):
        if abs(value) > INT8_MAX:
            raise Unfit("a number out of range")
        return str(value)
    if not value.is_finite():
        raise Unfit(f"{value} is not a number" if value.is_nan() else "a number out of range")
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent > 0 or value.adjusted() > 20 or exponent < -20:
        raise Unfit(f"{str(value)[:40]}: the digits are lost in an exponent")
    return format(value.quantize(Decimal(1)) if value == value.to_integral_value() else value, "f")


def _parsed(text: str) -> Decimal | None:
    text = without_edges(storable(text))
    if len(text) > _NUMBER_MAX_CHARS:
        raise _no_number(text)
    digits = _NO_CENTS.sub(r"\g<1>00", _SIGN_BEHIND.sub("", _SIGN_BEFORE.sub("", text)).rstrip())
    if grouped_by_blanks := _BLANK_GROUPED.fullmatch(digits):
        digits = re.sub(_BLANK, "", grouped_by_blanks[1]) + (grouped_by_blanks[2] or "")
    if not digits:
        return None
    if _AMBIGUOUS.fullmatch(digits):
        raise Unfit(f"{digits} may mean {digits.replace(',', '.')} or {re.sub('[.,]', '', digits)}")
    if _PLAIN.fullmatch(digits):
        return Decimal(digits.replace(",", "."))
    grouped = _GROUPED.fullmatch(digits)
    if grouped is None:
        raise _no_number(text)
    return Decimal(digits.replace(grouped.group(1), "").replace(",", "."))


def _no_number(text: str) -> Unfit:
    return Unfit(f"{text[:40]!r} is not a number")


@lru_cache(maxsize=4096)
def _bounded(number: Decimal) -> Decimal:
    if number.is_nan():
        raise Unfit("NaN is not a number")
    if not number.is_finite() or number.adjusted() >= 10:
        raise Unfit("a number out of range")
    if number and abs(number) < _FOUR_PLACES:
        raise Unfit(f"{number.normalize()} is nothing in four decimal places")
    rounded = number.quantize(_FOUR_PLACES, ROUND_HALF_EVEN)
    if abs(rounded) >= _AMOUNT_LIMIT:
        raise Unfit("a number out of range")
    return canonical(rounded)
