"""What programs of a release rely on in its schema, read from PostgreSQL's catalogs, and what a later one broke of it.

The rule (docs/decisions/0026): a release's migrations only add. Strict on purpose: what is a widening in truth (a check
that lets more through) is named in `WIDENED` with its reason.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

WIDENED: dict[str, str] = {}
"""Constraints, by `table.name`, that let through all that they did and more, and why that is so."""
PLAIN = "n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relname <> 'alembic_version'"
FACTS = f"""
SELECT 'relation' AS kind, c.relname AS name, '' AS part, CAST(c.relkind AS text) AS says, '' AS needs
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {PLAIN}
UNION ALL
SELECT 'column', c.relname, a.attname,
    concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
              'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), NULLIF(a.attidentity, ''), NULLIF(a.attgenerated, '')),
    CASE WHEN a.attnotnull AND d.oid IS NULL AND a.attidentity = '' THEN 'a value' ELSE '' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE {PLAIN}
UNION ALL
SELECT 'constraint', c.relname, k.conname, pg_get_constraintdef(k.oid), 'to hold'
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {PLAIN} AND k.contype <> 'n'
UNION ALL
SELECT 'index', c.relname, x.relname, pg_get_indexdef(i.indexrelid), CASE WHEN i.indisunique THEN 'to hold' ELSE '' END
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {PLAIN}
UNION ALL
SELECT 'trigger', c.relname, t.tgname, '', '' FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {PLAIN} AND NOT t.tgisinternal
UNION ALL
SELECT 'function', p.oid::regprocedure::text, '', pg_get_function_result(p.oid), ''
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public'
"""


class Thing(NamedTuple):
    """Something of a schema that a program may rely on."""

    kind: str
    name: str
    """Of its table, or its own."""
    part: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}{'.' if self.part else ''}{self.part}"


class Said(NamedTuple):
    """What the catalogs say of a thing."""

    definition: str
    needs: str
    """What it needs of whoever writes to its table; empty when nothing."""


Facts = dict[Thing, Said]


async def schema_facts(db: AsyncConnection) -> Facts:
    """Everything of the schema that a program may rely on."""
    return {Thing(*row[:3]): Said(*row[3:]) for row in await db.execute(text(FACTS))}


def broken_promises(release: Facts, now: Facts) -> list[str]:
    """What programs of `release` would miss or be refused on the schema `now`; empty when it only added."""
    gone = [f"{thing} is gone" for thing in release if thing not in now]
    changed = [
        f"{thing} was `{release[thing].definition}` and is `{now[thing].definition}`"
        for thing in release
        if thing in now
        and now[thing].definition != release[thing].definition
        and f"{thing.name}.{thing.part}" not in WIDENED
    ]
    relations = {thing.name for thing in release if thing.kind == "relation"}
    demands = [
        f"{thing} is new and needs {said.needs} (`{said.definition}`), which older programs do not know"
        for thing, said in now.items()
        if thing not in release and thing.name in relations and said.needs
    ]
    return [*gone, *changed, *demands]
