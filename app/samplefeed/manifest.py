"""The manifest and the categories, as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.samplefeed.entries import Entry
from app.samplefeed.seeded import digest
from app.samplefeed.words import ARTICLES

BYTE_ORDER_MARK = "\ufeff"


@dataclass(slots=True)
class ManifestStyle:
    """How the manifest is written: line ends, a byte-order mark, upper-case hashes, and lines before and after."""

    newline: str = "\n"
    byte_order_mark: bool = False
    upper_case_hashes: bool = False
    lists_categories: bool = True
    lines_before: list[str] = field(default_factory=list)
    lines_after: list[str] = field(default_factory=list)
    raw: bytes | None = None
    """Served in place of all that, as it is."""


def manifest_bytes(
    style: ManifestStyle, base_url: str, seed: int, entries: Iterable[Entry], categories: bytes
) -> bytes:
    """The manifest: `CAT.csv` first, then a line `URL|HASH` for each listed document."""
    if style.raw is not None:
        return style.raw
    lines = list(style.lines_before)
    if style.lists_categories:
        lines.append(f"{base_url}/CAT.csv|{digest(categories)}")
    lines.extend(_line(style, base_url, entry, seed) for entry in entries if entry.listed)
    lines.extend(style.lines_after)
    text = "".join(line + style.newline for line in lines)
    return ((BYTE_ORDER_MARK if style.byte_order_mark else "") + text).encode()


def categories_bytes() -> bytes:
    """`CAT.csv`: the category paths with their names by language, and the ones that only secondary lists name."""
    lines = ["KEY;de;en;nl;fr"]
    for article in ARTICLES:
        names = article.names
        lines.append(f"{article.category};{names['de']};{names['en']};{names['nl']};{names['fr']}")
    lines.append("ECO/RECYCLED;Recycelt;Recycled;Gerecycled;Recyclé")
    lines.append('NEW/2025;"Neu; 2025";"New; 2025";"Nieuw; 2025";')
    return "".join(line + "\r\n" for line in lines).encode()


def _line(style: ManifestStyle, base_url: str, entry: Entry, seed: int) -> str:
    told = entry.hash(seed)
    if not told:
        return f"{base_url}/{entry.path}"
    return f"{base_url}/{entry.path}|{told.upper() if style.upper_case_hashes else told}"
