"""Webhooks and their deliveries, schedules that pause, and what the retention needs.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE suppliers
    ADD COLUMN schedule_paused_at timestamptz,
    ADD COLUMN schedule_paused_reason text,
    ADD COLUMN schedule_resumed_at timestamptz;
COMMENT ON COLUMN suppliers.schedule_resumed_at IS 'failures before this no longer count against the schedule';
CREATE INDEX suppliers_due ON suppliers (next_run_at) WHERE next_run_at IS NOT NULL;

ALTER TABLE runs ADD COLUMN changes_since bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN runs.changes_since IS 'the head of the change feed when the run was made: all it changes comes after';
CREATE INDEX runs_by_end ON runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX changes_of_run ON changes (run_id);

CREATE TABLE webhooks (
    id uuid PRIMARY KEY,
    url text NOT NULL,
    events text[] NOT NULL CHECK (cardinality(events) > 0),
    secret text NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    deactivated_reason text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    webhook_id uuid NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    event text NOT NULL,
    run_id uuid NOT NULL,
    payload text NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts int NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claim uuid,
    lease_until timestamptz,
    response_status int,
    error text,
    tries jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_attempt_at timestamptz,
    delivered_at timestamptz,
    UNIQUE (webhook_id, run_id, event)
) WITH (fillfactor = 80);
COMMENT ON COLUMN deliveries.id IS 'sent as webhook-id, the same on each try';
COMMENT ON COLUMN deliveries.payload IS 'the body as it is signed and sent, byte for byte';
CREATE INDEX deliveries_due ON deliveries (webhook_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX deliveries_log ON deliveries (webhook_id, number DESC);
CREATE INDEX deliveries_by_age ON deliveries (created_at) WHERE state <> 'pending';
"""

DOWN = """
DROP TABLE deliveries, webhooks;
DROP INDEX changes_of_run, runs_by_end, suppliers_due;
ALTER TABLE runs DROP COLUMN changes_since;
ALTER TABLE suppliers
    DROP COLUMN schedule_paused_at,
    DROP COLUMN schedule_paused_reason,
    DROP COLUMN schedule_resumed_at;
"""


def upgrade() -> None:
    run(UP)


def downgrade() -> None:
    run(DOWN)


def run(script: str) -> None:
    """Execute a script statement by statement: asyncpg prepares each, and a prepared statement holds just one."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)
