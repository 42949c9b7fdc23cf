"""What a worker hands back waits again: `active` may become `waiting`.

It became `delayed`, as if it had failed and were to be tried again. Programs of 0012 go on doing so.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
works_with = "0006"

BEFORE = (
    "waiting>active", "waiting>cancelled",
    "delayed>active", "delayed>cancelled",
    "active>completed", "active>failed", "active>delayed", "active>cancelled",
    "failed>waiting",
)  # fmt: skip
AFTER = (*BEFORE, "active>waiting")
TRIGGER = """
CREATE TRIGGER jobs_transition BEFORE UPDATE OF state ON jobs FOR EACH ROW
WHEN (OLD.state <> NEW.state AND (OLD.state || '>' || NEW.state) NOT IN ({moves}))
EXECUTE FUNCTION refuse_job_transition()
"""


def upgrade() -> None:
    """Allow it."""
    _allow(AFTER)


def downgrade() -> None:
    """Refuse it again; what was handed back stays, and waits."""
    _allow(BEFORE)


def _allow(moves: tuple[str, ...]) -> None:
    op.execute("DROP TRIGGER jobs_transition ON jobs")
    op.execute(TRIGGER.format(moves=", ".join(f"'{move}'" for move in moves)))
