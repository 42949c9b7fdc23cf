"""`CAT.csv`: the names of the categories, by key and language."""

from __future__ import annotations

import codecs
import csv
import io

import msgspec

from app.catalogue.types import Texts
from app.errors import CategoriesRefused

_KEY_MAX_CHARS = 255
_UNCLOSED = "a quote in the category file is never closed, so the names stay as they are"


class CategoryData(msgspec.Struct, frozen=True):
    """A category path (`BAGS/SHOPPING_BAGS`) and what it is called."""

    key: str
    name: Texts


def read_categories(body: bytes) -> list[CategoryData]:
    """Read `CAT.csv`: a header `KEY;de;en;…`, then a category a line. The last line of a key counts.

    Lines without a key are passed over.

    Raises:
        CategoriesRefused: the body has no such header, so it is something else (a page, an error, an empty body), or a
            quote in it is never closed.
    """
    rows = _rows(_text(body))
    header = _header(rows[0] if rows else [])
    categories = (_category(header, row) for row in rows[1:])
    return list({category.key: category for category in categories if category}.values())


def _rows(text: str) -> list[list[str]]:
    """The lines in cells; the first that is not blank is the first of them.

    Raises:
        CategoriesRefused: a quote that is never closed takes other lines into a cell, so that nobody knows them.
    """
    try:
        rows = list(csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=";"))
    except csv.Error:  # a cell beyond any length
        raise CategoriesRefused(_UNCLOSED) from None
    if any(_holds_other_lines(cell) for row in rows for cell in row):
        raise CategoriesRefused(_UNCLOSED)
    return rows


def _holds_other_lines(cell: str) -> bool:
    """Whether a `;` stands behind the end of a line."""
    last = cell.rfind(";")
    return any(0 <= cell.find(line_end) < last for line_end in "\r\n")


def _header(row: list[str]) -> list[str]:
    header = [name.strip() for name in row]
    if not header or header[0].upper() != "KEY":
        raise CategoriesRefused("this is no category file: its first line is not KEY;…, so the names stay as they are")
    return [_storable(name) for name in header]


def _category(header: list[str], row: list[str]) -> CategoryData | None:
    cells = [_storable(cell).strip() for cell in row]
    if not cells or not cells[0] or len(cells[0]) > _KEY_MAX_CHARS:
        return None
    names = {language: name for language, name in zip(header[1:], cells[1:], strict=False) if language and name}
    return CategoryData(cells[0], names)


def _text(body: bytes) -> str:
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return body.decode()
    except UnicodeDecodeError:
        return "".join(map(_line, body.splitlines(keepends=True)))


def _line(line: bytes) -> str:
    """By itself: one that was put in from elsewhere, in Latin-1, does not change how the others are read."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace")


def _storable(text: str) -> str:
    """Without NUL, which PostgreSQL refuses; the header is judged with it, since UTF-16 is full of them."""
    return text.replace("\0", "")
