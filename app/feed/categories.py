"""`CAT.csv`: the names of the categories, by key and language."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator

import msgspec

from app.catalogue.types import Texts
from app.errors import CategoriesRefused

_KEY_MAX_CHARS = 255


class CategoryData(msgspec.Struct, frozen=True):
    """A category path (`BAGS/SHOPPING_BAGS`) and what it is called."""

    key: str
    name: Texts


def read_categories(body: bytes) -> list[CategoryData]:
    """Read `CAT.csv`: a header `KEY;de;en;…`, then a category a line. The last line of a key counts.

    Lines without a key are passed over.

    Raises:
        CategoriesRefused: the body has no such header, so it is something else (a page, an error, an empty body).
    """
    rows = csv.reader(io.StringIO(_text(body), newline=""), delimiter=";")
    header = _header(rows)
    found: dict[str, CategoryData] = {}
    try:
        for row in rows:
            category = _category(header, row)
            if category:
                found[category.key] = category
    except csv.Error:
        pass  # a quote that is never closed: what stands before it is good
    return list(found.values())


def _header(rows: Iterator[list[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(rows, [])]
    except csv.Error:
        header = []
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
    try:
        return body.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def _storable(text: str) -> str:
    """Without NUL, which PostgreSQL refuses; the header is judged with it, since UTF-16 is full of them."""
    return text.replace("\0", "")
