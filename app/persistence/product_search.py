"""Words of names, and the beginnings of SKUs and EANs: two ways to the same products.

What is rare is looked up in its indexes first, and the page is put together from that. What many products have is not:
the products are gone through in the page's order and each is asked, since a page is full after a few hundred of them.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

LAST_CHARACTER = "\U0010ffff"
MANY = 5_000
"""From here on words count as common; so many ids are sorted in some milliseconds."""


def _begins(column: str, words: str) -> str:
    """With the operators of text_pattern_ops, so that the index is used whatever the plan knows of the parameter."""
    return f"({column} ~>=~ {words} AND {column} ~<~ ({words} || :last_character))"


_EXACT, _LOWERED = "CAST(:words AS text)", 'lower(CAST(:words AS text) COLLATE "C")'
_EAN = "{0}.content ->> 'ean'"
_NAMED = "{0}.words @@ plainto_tsquery('simple', :words)"
_FOUND = (
    f"SELECT w.id FROM products w WHERE {_NAMED.format('w')}",
    f"SELECT l.id FROM products l WHERE {_begins('lower(l.sku)', _LOWERED)}",
    f"SELECT v.product_id FROM variants v WHERE {_begins('lower(v.sku)', _LOWERED)}",
    f"SELECT e.product_id FROM variants e WHERE {_begins(_EAN.format('e'), _EXACT)}",
)
RARE = f"p.id IN ({' UNION '.join(_FOUND)})"
COMMON = f"""({_NAMED.format("p")} OR {_begins("lower(p.sku)", _LOWERED)} OR EXISTS (
    SELECT FROM variants v WHERE v.product_id = p.id
    AND ({_begins("lower(v.sku)", _LOWERED)} OR {_begins(_EAN.format("v"), _EXACT)})))"""
COUNT = f"SELECT count(*) FROM ({' UNION ALL '.join(f'({found} LIMIT :many)' for found in _FOUND)}) AS found"


async def are_common(db: AsyncConnection, words: str) -> bool:
    """Whether so many products have these words that going through them is the shorter way."""
    parameters = {"words": words, "last_character": LAST_CHARACTER, "many": MANY}
    return int(await db.scalar(text(COUNT), parameters) or 0) >= MANY
