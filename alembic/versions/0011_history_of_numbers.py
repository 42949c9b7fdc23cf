"""What each minute came to, kept for fourteen days: jobs done and failed by queue, what waited, runs, bytes.

`queue_totals.gained` counts jobs that came into a state and forgets none that left it, so that what a minute added is a
difference. Programs of 0010 fold without it, as with zero: a chart has a gap, the numbers of the queues do not.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
works_with = "0006"

STATEMENTS = (
    "ALTER TABLE queue_totals ADD COLUMN gained bigint NOT NULL DEFAULT 0",
    "COMMENT ON COLUMN queue_totals.gained IS 'jobs that ever came into the state; what left it is not taken away'",
    """
CREATE TABLE queue_minutes (
    minute timestamptz NOT NULL, queue text NOT NULL,
    done bigint NOT NULL, failed bigint NOT NULL, waiting bigint NOT NULL, active bigint NOT NULL,
    oldest_s double precision NOT NULL, PRIMARY KEY (minute, queue))
""",
    "COMMENT ON COLUMN queue_minutes.waiting IS 'at the end of the minute, with those that are delayed'",
    "COMMENT ON COLUMN queue_minutes.oldest_s IS 'age of the job that waited longest, in seconds; 0 when none did'",
    """
CREATE TABLE service_minutes (
    minute timestamptz PRIMARY KEY,
    runs bigint NOT NULL, runs_failed bigint NOT NULL, pictures bigint NOT NULL, bytes bigint NOT NULL)
""",
    "COMMENT ON COLUMN service_minutes.bytes IS 'of the pictures that were stored'",
    """
CREATE TABLE minutes_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    minute timestamptz NOT NULL, gained jsonb, media_id bigint NOT NULL)
""",
    "COMMENT ON TABLE minutes_head IS 'up to where minutes are written; whoever holds the row writes the next one'",
    """
INSERT INTO minutes_head (minute, media_id)
SELECT date_trunc('minute', clock_timestamp()), COALESCE(max(id), 0) FROM media
""",
)


def upgrade() -> None:
    """The tables, and where they begin."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Undo it."""
    op.execute("DROP TABLE queue_minutes, service_minutes, minutes_head")
    op.execute("ALTER TABLE queue_totals DROP COLUMN gained")
