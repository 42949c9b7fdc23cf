"""The manifest's lines that could not be read when a supplier was last synced, so that a new one can be told apart.

Programs of 0006 do not know of them; a supplier that they sync keeps what was noted before, which at most holds its
removals back once.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
works_with = "0006"


def upgrade() -> None:
    op.execute("""
ALTER TABLE suppliers ADD COLUMN odd_lines bigint[] NOT NULL DEFAULT '{}',
    ADD COLUMN odd_lines_beyond int NOT NULL DEFAULT 0""")
    op.execute("""
COMMENT ON COLUMN suppliers.odd_lines IS 'digests of unreadable lines of its last manifest, its own and nobody''s'""")
    op.execute("""
COMMENT ON COLUMN suppliers.odd_lines_beyond IS 'how many lines more there were than are told apart'""")


def downgrade() -> None:
    op.execute("ALTER TABLE suppliers DROP COLUMN odd_lines, DROP COLUMN odd_lines_beyond")
