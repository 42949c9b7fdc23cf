"""The audit trail: who did what to what, when, from where, with which result. Written once, never changed.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
works_with = "0006"

TABLE = """
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    role text,
    via text NOT NULL CHECK (via IN ('api', 'dashboard', 'cli', 'schedule')),
    action text NOT NULL,
    target text,
    result text NOT NULL CHECK (result IN ('ok', 'refused', 'failed')),
    detail jsonb NOT NULL DEFAULT '{}',
    address text
)
"""
COMMENTS = (
    "COMMENT ON COLUMN audit.actor IS 'a key''s name, the machine''s user on the command line, or schedule'",
    "COMMENT ON COLUMN audit.address IS 'where it came from: an address, or the machine''s name'",
)
INDEXES = {
    "audit_by_time": "audit (at, id)",
    "audit_by_actor": "audit (actor, at, id)",
    "audit_by_action": "audit (action, at, id)",
    "audit_by_target": "audit (target, at, id)",
}
STAYS = """
CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is not changed: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$
"""
TRIGGER = """
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays()
"""


def upgrade() -> None:
    """The table, its indexes, and what keeps its rows as they are."""
    for statement in (TABLE, *COMMENTS, *(f"CREATE INDEX {name} ON {on}" for name, on in INDEXES.items())):
        op.execute(statement)
    op.execute(STAYS)
    op.execute(TRIGGER)


def downgrade() -> None:
    """Undo it."""
    op.execute("DROP TABLE audit")
    op.execute("DROP FUNCTION audit_stays")
