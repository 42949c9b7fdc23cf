"""Words of names, and the beginnings of SKUs and EANs: two ways to the same products.

What is rare is looked up in its indexes first, and the page is put together from that. What many products have is not:
the products are gone through in the page's order and each is asked, since a page is full after a few hundred of them.

PostgreSQL takes `Tasche/Bag` for a file and `pen.blue` for a host: one word each. Names with such words are looked for
by their parts, too, in an index that holds no others (decision 0033); what is asked for is taken apart as they are.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

LAST_CHARACTER = "\U0010ffff"
MANY = 5_000
"""From here on words count as common; so many ids are sorted in some milliseconds."""

_BEYOND = r"\u00A0-\u00A9\u00AB-\u00B4\u00B6-\u00B9\u00BB-\u00BF\u00D7\u00F7\u2000-\u206F\u20A0-\u20CF\u2122\u2212"
"""Signs beyond ASCII that are no letters: no-break and other blanks, dashes, quotation marks, ®, ™, currencies."""
_BETWEEN = rf"[!#-&(-+/;-@^-`|~{_BEYOND}]|[.](?![0-9])|(?<![0-9])[.]|-(?=[0-9])"
"""What stands between words: signs, a dot that is no decimal point, a hyphen that would be a number's sign.

Of ASCII's without what JSON is written with, which the parser takes apart by itself, as it does other hyphens.
"""


def _begins(column: str, words: str) -> str:
    """With the operators of text_pattern_ops, so that the index is used whatever the plan knows of the parameter."""
    return f"({column} ~>=~ {words} AND {column} ~<~ ({words} || :last_character))"


def _apart(written: str) -> str:
    return f"regexp_replace({written}, '{_BETWEEN}', ' ', 'g')"


def _in_parts(row: str, asked: str) -> str:
    """Letter by letter what the index of 0014 is made of, so that it is used."""
    names = _apart(f"{row}.content ->> 'name'")
    parts = f"jsonb_to_tsvector('simple', CAST({names} AS jsonb), '[\"string\"]')"
    return f"(CAST(strip({row}.words) AS text) ~ '{_BETWEEN}' AND {parts} @@ {asked})"


_EXACT, _LOWERED = "CAST(:words AS text)", 'lower(CAST(:words AS text) COLLATE "C")'
_EAN = "{0}.content ->> 'ean'"
_ASKED = f"plainto_tsquery('simple', {_apart(_EXACT)})"
_ASKED_ONCE = f"(SELECT {_ASKED})"
"""The same, unknown to the planner: it expects few rows then, and looks up which they are once, not row by row."""
_FOUND = (
    f"SELECT w.id FROM products w WHERE w.words @@ {_ASKED}",
    f"SELECT a.id FROM products a WHERE {_in_parts('a', _ASKED)}",
    f"SELECT l.id FROM products l WHERE {_begins('lower(l.sku)', _LOWERED)}",
    f"SELECT v.product_id FROM variants v WHERE {_begins('lower(v.sku)', _LOWERED)}",
    f"SELECT e.product_id FROM variants e WHERE {_begins(_EAN.format('e'), _EXACT)}",
)
RARE = f"p.id = ANY(ARRAY({' UNION '.join(_FOUND)}))"
"""An array counts as ten rows for the planner, so that they are looked up by their keys (decision 0030)."""
COMMON = f"""(p.words @@ {_ASKED} OR {_begins("lower(p.sku)", _LOWERED)} OR EXISTS (
    SELECT FROM variants v WHERE v.product_id = p.id
    AND ({_begins("lower(v.sku)", _LOWERED)} OR {_begins(_EAN.format("v"), _EXACT)}))
    OR p.id IN (SELECT a.id FROM products a WHERE {_in_parts("a", _ASKED_ONCE)}))"""
COUNT = f"SELECT count(*) FROM ({' UNION ALL '.join(f'({found} LIMIT :many)' for found in _FOUND)}) AS found"


async def are_common(db: AsyncConnection, words: str) -> bool:
    """Whether so many products have these words that going through them is the shorter way."""
    parameters = {"words": words, "last_character": LAST_CHARACTER, "many": MANY}
    return int(await db.scalar(text(COUNT), parameters) or 0) >= MANY
