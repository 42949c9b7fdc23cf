"""`products.fingerprint` is not written any more: nothing read it. It stays, nullable, for older versions.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE products ALTER COLUMN fingerprint DROP NOT NULL")


def downgrade() -> None:
    op.execute("UPDATE products SET fingerprint = '' WHERE fingerprint IS NULL")
    op.execute("ALTER TABLE products ALTER COLUMN fingerprint SET NOT NULL")
