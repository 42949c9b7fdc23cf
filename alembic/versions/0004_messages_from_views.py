"""A delivery keeps the run as it ended; its text is composed from the API's view, masked, at the first try.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UP = (
    "ALTER TABLE deliveries ADD COLUMN snapshot jsonb, ALTER COLUMN payload DROP NOT NULL",
    "COMMENT ON COLUMN deliveries.snapshot IS 'the run as it ended, unmasked; null in rows of versions before 0004'",
    "COMMENT ON COLUMN deliveries.payload IS 'the body as it is signed and sent; null until the first try'",
)
DOWN = (
    "DELETE FROM deliveries WHERE payload IS NULL",
    "ALTER TABLE deliveries DROP COLUMN snapshot, ALTER COLUMN payload SET NOT NULL",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
