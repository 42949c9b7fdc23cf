"""Words of names that stand beside signs beyond ASCII: `Moleskine®`, `d’étui`, `tas–rood`, no-break spaces.

Where the database's locale is C, as an embedded one's, PostgreSQL takes each such sign for a letter. They are taken
apart by the index of 0012, which is made anew. Programs of 0013 go on without it, and look through all products.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
works_with = "0006"

ASCII = "!#-&(-+/;-@^-`|~"
BEYOND = r"\u00A0-\u00A9\u00AB-\u00B4\u00B6-\u00B9\u00BB-\u00BF\u00D7\u00F7\u2000-\u206F\u20A0-\u20CF\u2122\u2212"
REST = "[.](?![0-9])|(?<![0-9])[.]|-(?=[0-9])"


def _on(between: str) -> str:
    names = f"CAST(regexp_replace(content ->> 'name', '{between}', ' ', 'g') AS jsonb)"
    apart = f"jsonb_to_tsvector('simple', {names}, '[\"string\"]')"
    return f"products USING gin ({apart}) WHERE CAST(strip(words) AS text) ~ '{between}'"


BEFORE = ("products_by_words_apart", _on(f"[{ASCII}]|{REST}"))
AFTER = ("products_by_words_between_signs", _on(f"[{ASCII}{BEYOND}]|{REST}"))


def upgrade() -> None:
    """The new one first, while others read and write."""
    _replace(BEFORE, AFTER)


def downgrade() -> None:
    """The other way round."""
    _replace(AFTER, BEFORE)


def _replace(old: tuple[str, str], new: tuple[str, str]) -> None:
    name, on = new
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # one that was begun and not ended is of no use
        op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {on}")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {old[0]}")
