"""`q` finds a word of a name wherever it stands, beside a slash or a dot too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from unicodedata import normalize

import pytest
from sqlalchemy import text

from app.persistence import product_lists, product_search
from app.persistence.database import Database
from app.persistence.product_lists import ProductFilter
from tests.support.databases import fresh_database
from tests.support.stack import Servers


def either_way(words: str) -> tuple[str, str]:
    """With accents in the letters and behind them."""
    return normalize("NFC", words), normalize("NFD", words)


NAMES = {
    "slash": "Tasche/Rucksack Größe/Maß Tüte/Öse",
    "plain": "Tasche Rucksack",
    "host": "pen.blue",
    "decimal": "USB 2.0 Stick 0.5l/500ml",
    "hyphens": "T-Shirt BIC-2000",
    "address": "http://shop.example/bags/tote?colour=red#top or info@pen.example",
    "signs": "Set 3+1 a_b key:value ~tilde/x",
    "end": "Becher. Deckel, (rot)/blau...",
    "none": "Schirm",
    "beyond": "Moleskine® d’étui Mok\u00a0XL rood–blauw „Pen“ 5€ Café™ 30×40 µm Nº",
}
NAMES["accents"] = normalize("NFD", "Élan Überzug/Ärmel Ångström")
NAMES |= dict.fromkeys((normalize("NFC", "ü-1"), normalize("NFD", "ü-2")), "Bund")
FOUND = {
    "tasche": "slash plain", "RUCKSACK": "slash plain", "Tasche/Rucksack": "slash plain", "maß": "slash",
    "rucksack tasche": "slash plain", "größe/maß": "slash", "öse": "slash", "tasche maß": "slash", "tasche schirm": "",
    "pen": "host address beyond", "blue": "host", "pen.blue": "host", "blue.pen": "host", "pen/blue": "host",
    "2.0": "decimal", "usb 2.0": "decimal", "2": "", "0": "", "500ml": "decimal", "0.5l": "decimal",
    "stick/usb": "decimal",
    "shirt": "hyphens", "t-shirt": "hyphens", "2000": "hyphens", "bic-2000": "hyphens", "bic": "hyphens",
    "tote": "address", "shop.example": "address", "red": "address", "top": "address", "info@pen.example": "address",
    "http://shop.example/bags/tote?colour=red#top": "address", "example": "address",
    "1": "signs", "3+1": "signs", "a_b": "signs", "key": "signs", "value": "signs", "tilde": "signs",
    "becher": "end", "rot": "end", "blau": "end", "(rot)/blau...": "end",
    "moleskine": "beyond", "Moleskine®": "beyond", "étui": "beyond", "ÉTUI": "beyond", "d'étui": "beyond",
    "mok": "beyond", "xl": "beyond", "rood": "beyond", "blauw": "beyond", "rood–blauw": "beyond", "pens": "",
    "5": "beyond", "café": "beyond", "cafe": "", "40": "beyond", "µm": "beyond", "nº": "beyond",
    **dict.fromkeys((*either_way("élan"), "ÉLAN", "überzug", "ärmel"), "accents"),
    **dict.fromkeys(("\u212bngström", "\u00c5ngström", "A\u030angström"), "accents"),
    **dict.fromkeys(either_way("café étui"), "beyond"), "elan": "", "élan étui": "",
    **dict.fromkeys(either_way("SKU of ü"), f"ü-1 {normalize('NFD', 'ü-2')}"),
    "nl": "", "/": "", "...": "", "%": "", "schirm.": "none", "/schirm/": "none",
}  # fmt: skip

FILL = """
INSERT INTO products (supplier_id, sku, status, content, content_digest, applied_version)
SELECT s.id, 'sku of ' || r.sku, 'active', jsonb_build_object('name', jsonb_build_object('nl', r.name)), '', 1
FROM suppliers s, unnest(CAST(:skus AS text[]), CAST(:names AS text[])) AS r(sku, name)
"""


@pytest.fixture(scope="module")
async def database(servers: Servers) -> AsyncIterator[Database]:
    async with fresh_database(servers.postgres.url) as url:
        opened = Database(url)
        async with opened.begin() as db:
            await db.execute(text("INSERT INTO suppliers (document_id, code, name) VALUES ('d', 'c', 'n')"))
            await db.execute(text(FILL), {"skus": list(NAMES), "names": list(NAMES.values())})
        yield opened
        await opened.close()


@pytest.mark.parametrize("many", [1, product_search.MANY])
async def test_a_word_is_found_beside_whatever_stands_next_to_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """Whether the words count as common or not, and in the whole of an export, too."""
    monkeypatch.setattr(product_search, "MANY", many)
    found = {}
    async with database.read() as db:
        for words in FOUND:
            rows = await product_lists.list_keys(db, ProductFilter(words=words), sort="sku", after=None, limit=50)
            found[words] = {row.sku.removeprefix("sku of ") for row in rows}
    assert found == {words: set(names.split()) for words, names in FOUND.items()}
