"""Objects of the store that were removed, so that whoever was about to rely on one notices.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE media_removals (
    sha256 bytea PRIMARY KEY,
    removals int NOT NULL,
    until timestamptz NOT NULL
)
"""
COMMENT = "COMMENT ON COLUMN media_removals.until IS 'until then the object may be deleted at any moment'"


def upgrade() -> None:
    op.execute(UP)
    op.execute(COMMENT)


def downgrade() -> None:
    op.execute("DROP TABLE media_removals")
