"""The numbers of each queue as counters, and which old runs have been thinned out already.

Every statement that makes, moves or deletes jobs notes what it moved in `queue_moves`, in its own transaction: rows are
only added, so no two commits wait for each other. A chore folds them into `queue_totals`; both together are the numbers
of one moment. Programs of 0007 count the jobs themselves, and go on to.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
works_with = "0006"

TOTALS = """
CREATE TABLE queue_totals (queue text NOT NULL, state text NOT NULL, jobs bigint NOT NULL, PRIMARY KEY (queue, state))
"""
MOVES = """
CREATE TABLE queue_moves (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, queue text NOT NULL, state text NOT NULL, jobs bigint NOT NULL)
"""
FUNCTION = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO queue_moves (queue, state, jobs)
    SELECT queue, state, sum(number) FROM ({rows}) AS moved GROUP BY queue, state HAVING sum(number) <> 0;
    RETURN NULL;
END $$
"""
MADE = "SELECT queue, state, 1 AS number FROM made WHERE NOT direct"
GONE = "SELECT queue, state, -1 AS number FROM gone WHERE NOT direct"
FUNCTIONS = {
    "note_jobs_made": MADE,
    "note_jobs_gone": GONE,
    "note_jobs_moved": f"{MADE} UNION ALL {GONE}",
}
TRIGGERS = {
    "note_jobs_made": "AFTER INSERT ON jobs REFERENCING NEW TABLE AS made",
    "note_jobs_gone": "AFTER DELETE ON jobs REFERENCING OLD TABLE AS gone",
    "note_jobs_moved": "AFTER UPDATE ON jobs REFERENCING NEW TABLE AS made OLD TABLE AS gone",
}


def upgrade() -> None:
    op.execute(TOTALS)
    op.execute(MOVES)
    for name, rows in FUNCTIONS.items():
        op.execute(FUNCTION.format(name=name, rows=rows))
    for name, when in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {when} FOR EACH STATEMENT EXECUTE FUNCTION {name}()")
    # the triggers hold back whoever writes jobs until this commits, so nothing is counted twice or missed
    op.execute("""
INSERT INTO queue_totals (queue, state, jobs)
SELECT queue, state, count(*) FROM jobs WHERE NOT direct GROUP BY queue, state""")
    op.execute("ALTER TABLE runs ADD COLUMN jobs_forgotten boolean NOT NULL DEFAULT false")
    op.execute("COMMENT ON COLUMN runs.jobs_forgotten IS 'it is old, and has no completed job any more'")
    op.execute("CREATE INDEX runs_to_thin ON runs (finished_at) WHERE NOT jobs_forgotten AND finished_at IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP INDEX runs_to_thin")
    op.execute("ALTER TABLE runs DROP COLUMN jobs_forgotten")
    for name in TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON jobs")
        op.execute(f"DROP FUNCTION {name}()")
    op.execute("DROP TABLE queue_moves, queue_totals")
