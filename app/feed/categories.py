"""`CAT.csv`: the names of the categories, by key and language."""

from __future__ import annotations

import codecs
import csv
import io

import msgspec

from app.catalogue.types import Texts

_KEY_MAX_CHARS = 255


class CategoryData(msgspec.Struct, frozen=True):
    """A category path (`BAGS/SHOPPING_BAGS`) and what it is called."""

    key: str
    name: Texts


def read_categories(body: bytes) -> list[CategoryData]:
    """Read `CAT.csv`: a header `KEY;de;en;…`, then a category a line. The last line of a key counts.

    Lines without a key are passed over; a body without a `KEY` column has no categories.
    """
    rows = csv.reader(io.StringIO(_text(body), newline=""), delimiter=";")
    found: dict[str, CategoryData] = {}
    try:
        header = [name.strip() for name in next(rows, [])]
        if not header or header[0].upper() != "KEY":
            return []
        for row in rows:
            category = _category(header, row)
            if category:
                found[category.key] = category
    except csv.Error:
        pass  # a quote that is never closed: what stands before it is good
    return list(found.values())


def _category(header: list[str], row: list[str]) -> CategoryData | None:
    cells = [cell.strip() for cell in row]
    if not cells or not cells[0] or len(cells[0]) > _KEY_MAX_CHARS:
        return None
    names = {language: name for language, name in zip(header[1:], cells[1:], strict=False) if language and name}
    return CategoryData(cells[0], names)


def _text(body: bytes) -> str:
    try:
        text = body.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        text = body.decode("cp1252", "replace")
    return text.replace("\0", "")
