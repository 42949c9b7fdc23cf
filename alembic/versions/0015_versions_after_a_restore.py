"""Versions of products that are not met again after a restore.

A version was the number of a transaction. A database that was restored, and a standby that took over without the last
commits, hands the same numbers out once more, a dump on a new server small ones again: other content under an ETag that
somebody has. Now a version is made of the number and of the time at which the transaction began; the same for all that
the transaction writes, as before. No row is written, and programs of 0014 go on: they compare versions, no more.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
works_with = "0006"

STAMP = """
CREATE OR REPLACE FUNCTION stamp_products(ids bigint[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO product_versions (product_id, version)
    SELECT DISTINCT id, {version} FROM unnest(ids) AS i(id) ORDER BY id
    ON CONFLICT (product_id) DO UPDATE SET version = EXCLUDED.version
    WHERE product_versions.version <> EXCLUDED.version
$$
"""
COMMENT = "COMMENT ON TABLE product_versions IS '{says}'"
NUMBER = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
NUMBER_AND_TIME = f"hashint8extended({NUMBER}, CAST(1000000 * extract(epoch FROM now()) AS bigint))"
BEFORE = (NUMBER, "the transaction that last changed what readers see of a product; none: 0")
AFTER = (NUMBER_AND_TIME, "stands for the transaction that last changed what readers see of a product; none: 0")


def upgrade() -> None:
    """Versions that there are stay until something changes."""
    _make(*AFTER)


def downgrade() -> None:
    """The same the other way round."""
    _make(*BEFORE)


def _make(version: str, says: str) -> None:
    op.execute(STAMP.format(version=version))
    op.execute(COMMENT.format(says=says))
