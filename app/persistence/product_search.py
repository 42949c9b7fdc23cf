"""Words of names, and the beginnings of SKUs and EANs: two ways to the same products.

What is rare is looked up in its indexes first, and the page is put together from that. What many products have is not:
the products are gone through in the page's order and each is asked, since a page is full after a few hundred of them.

PostgreSQL takes `Tasche/Bag` for a file and `pen.blue` for a host: one word each. Names with such words are looked for
by their parts, too, in an index that holds no others (decision 0033); what is asked for is taken apart as they are.

Unicode has two ways to write `é`, as one character and as `e` with an accent behind it. They look the same and are not
equal for PostgreSQL. Names stay as the feed writes them; what is asked for is looked for in either way.
"""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import normalize

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


def _branches(parameter: str) -> tuple[str, ...]:
    """Statements whose ids are those of the products that have what is asked for."""
    exact, lowered, asked = _asked(parameter)
    return (
        f"SELECT w.id FROM products w WHERE w.words @@ {asked}",
        f"SELECT a.id FROM products a WHERE {_in_parts('a', asked)}",
        f"SELECT l.id FROM products l WHERE {_begins('lower(l.sku)', lowered)}",
        f"SELECT v.product_id FROM variants v WHERE {_begins('lower(v.sku)', lowered)}",
        f"SELECT e.product_id FROM variants e WHERE {_begins(_EAN.format('e'), exact)}",
    )


def _one_by_one(parameter: str) -> str:
    """The condition that product p has what is asked for."""
    exact, lowered, asked = _asked(parameter)
    # in a query of its own it is unknown to the planner: it expects few rows then, and looks up which they are once
    asked_once = f"(SELECT {asked})"
    return f"""p.words @@ {asked} OR {_begins("lower(p.sku)", lowered)} OR EXISTS (
    SELECT FROM variants v WHERE v.product_id = p.id
    AND ({_begins("lower(v.sku)", lowered)} OR {_begins(_EAN.format("v"), exact)}))
    OR p.id IN (SELECT a.id FROM products a WHERE {_in_parts("a", asked_once)})"""


_EAN = "{0}.content ->> 'ean'"


def _asked(parameter: str) -> tuple[str, str, str]:
    """What is asked for as it is, in small letters, and as words."""
    exact = f"CAST(:{parameter} AS text)"
    return exact, f'lower({exact} COLLATE "C")', f"plainto_tsquery('simple', {_apart(exact)})"


def forms_of(words: str) -> list[str]:
    """The ways to write these words: as they came, and with accents in and behind their letters where that differs.

    >>> [len(form) for form in forms_of("élan")]
    [4, 5]
    """
    return list(dict.fromkeys((words, normalize("NFC", words), normalize("NFD", words))))


def condition_of(words: str, *, common: bool = False) -> tuple[str, dict[str, object]]:
    """The condition that product p has these words, with its parameters.

    `common` where many products have them and a page is wanted: the same products, found in another way.
    """
    asked = _parameters(words)
    if common:
        found = f"({' OR '.join(map(_one_by_one, asked))})"
    else:
        # an array counts as ten rows for the planner, so that they are looked up by their keys (decision 0030)
        found = f"p.id = ANY(ARRAY({' UNION '.join(_all_branches(asked))}))"
    return found, {**asked, "last_character": LAST_CHARACTER}


async def are_common(db: AsyncConnection, words: str) -> bool:
    """Whether so many products have these words that going through them is the shorter way."""
    asked = _parameters(words)
    counted = " UNION ALL ".join(f"({found} LIMIT :many)" for found in _all_branches(asked))
    parameters = {**asked, "last_character": LAST_CHARACTER, "many": MANY}
    return int(await db.scalar(text(f"SELECT count(*) FROM ({counted}) AS found"), parameters) or 0) >= MANY


def _parameters(words: str) -> dict[str, str]:
    return {f"words_{number}": form for number, form in enumerate(forms_of(words))}


def _all_branches(parameters: Iterable[str]) -> list[str]:
    return [branch for parameter in parameters for branch in _branches(parameter)]
