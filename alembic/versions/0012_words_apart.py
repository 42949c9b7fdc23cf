"""Words of names that stand beside a slash, a dot and the like; categories in an order that no collation moves.

PostgreSQL takes `Tasche/Bag` for a file and `pen.blue` for a host, one word each, and the end of `A-5` for a number:
nobody finds the parts. The index has the words of such names taken apart, and nothing of others, which most are: that
is asked of `words`, so a write of another name costs a look at this small column. Programs of 0011 work without it.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
works_with = "0006"

BETWEEN = "[!#-&(-+/;-@^-`|~]|[.](?![0-9])|(?<![0-9])[.]|-(?=[0-9])"
NAMES = f"CAST(regexp_replace(content ->> 'name', '{BETWEEN}', ' ', 'g') AS jsonb)"
APART = f"jsonb_to_tsvector('simple', {NAMES}, '[\"string\"]')"
JOINED = f"CAST(strip(words) AS text) ~ '{BETWEEN}'"
INDEXES = {
    "products_by_words_apart": f"products USING gin ({APART}) WHERE {JOINED}",
    "categories_in_order": 'categories (profile, key COLLATE "C")',
}


def upgrade() -> None:
    """Both, while others read and write."""
    with op.get_context().autocommit_block():
        for name, on in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # one that was begun and not ended is of no use
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {on}")


def downgrade() -> None:
    """Undo it."""
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
