"""Forgetting what is old, in small batches, so that no statement is long and no lock is held for long.

Changes are forgotten from the beginning of the feed alone: first the mark moves (a follower from before it gets a 410),
then the rows go. The newest run of a supplier is never forgotten, nor one whose guard still holds something back, nor
anything of one that is under way or is being repaired.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.idempotency import KEPT
from app.persistence.minutes import KEPT_DAYS
from app.persistence.states import CLOSED_JOB

BATCH = 2_000
MOST_RUNS = 100
"""Runs that one batch looks at."""

NOT_NEWEST = """EXISTS (SELECT FROM runs n WHERE n.supplier_id = r.supplier_id
    AND (n.created_at, n.id) > (r.created_at, r.id))"""
OLD_RUN = f"""r.finished_at < clock_timestamp() - make_interval(secs => :age_s) AND r.open_jobs = 0
    AND (r.repaired_at IS NULL OR r.repaired_at < clock_timestamp() - make_interval(secs => :age_s)) AND {NOT_NEWEST}"""
"""A run that is repaired by hand has open jobs again, and is as old as its repair."""
DONE_WITH = f"""{OLD_RUN} AND (r.guard IS NULL OR NOT EXISTS (
    SELECT FROM variants v WHERE v.supplier_id = r.supplier_id AND v.dropped_run_id = r.id))"""
"""Without the run whose guard holds variants back they would go, and nobody has confirmed that."""
OLD_RUNS = """
SELECT r.id FROM runs r WHERE {condition} ORDER BY r.finished_at LIMIT :most FOR UPDATE OF r SKIP LOCKED
"""
THINNED = f"NOT r.jobs_forgotten AND {OLD_RUN}"
HANGING = """
DELETE FROM {table} WHERE id = ANY(ARRAY(
    SELECT x.id FROM {table} x WHERE x.id = ANY(ARRAY(
        SELECT h.id FROM unnest(CAST(:runs AS uuid[])) AS r(id)
        CROSS JOIN LATERAL (SELECT h.id FROM {table} h WHERE h.run_id = r.id AND {condition} LIMIT :most) h
        LIMIT :most))
    FOR UPDATE SKIP LOCKED))
"""
"""Run by run, by its index; what an operator holds, who waits for the run's row in turn, is left for the next time."""
FORGOTTEN_CHANGES = """
DELETE FROM changes WHERE id = ANY(ARRAY(
    SELECT c.id FROM changes c WHERE c.seq <= (SELECT pruned_seq FROM change_head)
    ORDER BY c.seq LIMIT :most FOR UPDATE OF c SKIP LOCKED))
"""
FORGOTTEN_ROWS = """
WITH old AS MATERIALIZED (SELECT {key} FROM {table} WHERE {which} LIMIT :most FOR UPDATE SKIP LOCKED)
DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM old)
"""
"""Which rows go is found out once. `IN (SELECT ... LIMIT ... SKIP LOCKED)` may be looked for anew for each row of the
table, and each time others are the first that are not locked."""


async def move_feed_start(db: AsyncConnection, age_s: float) -> int:
    """Move the beginning of the change feed past the oldest changes if they are older; returns by how many.

    Stops at the first change that is young enough: numbers follow commits, so times are only nearly in order.
    """
    moved = await db.scalar(
        text("""
        WITH head AS (SELECT pruned_seq FROM change_head FOR UPDATE SKIP LOCKED),
        oldest AS (
            SELECT c.seq, c.at < clock_timestamp() - make_interval(secs => :age_s) AS is_old
            FROM changes c, head h WHERE c.seq > h.pruned_seq ORDER BY c.seq LIMIT :most),
        cut AS (
            SELECT COALESCE((SELECT min(seq) - 1 FROM oldest WHERE NOT is_old), (SELECT max(seq) FROM oldest)) AS seq)
        UPDATE change_head c SET pruned_seq = cut.seq FROM cut, head h
        WHERE cut.seq > h.pruned_seq RETURNING cut.seq - h.pruned_seq"""),
        {"age_s": age_s, "most": BATCH},
    )
    return int(moved or 0)


async def delete_changes(db: AsyncConnection) -> int:
    """Delete some changes from before the feed's beginning; returns how many."""
    return await _count(db, FORGOTTEN_CHANGES)


async def delete_removals(db: AsyncConnection) -> int:
    """Delete some notes of objects that were removed long ago; returns how many.

    Nobody holds bytes for a day between storing them and the commit, which is what the notes are for.
    """
    return await _delete_old(db, "media_removals", "sha256", "until < clock_timestamp() - interval '1 day'")


async def delete_idempotency_keys(db: AsyncConnection) -> int:
    """Delete some answers that are no longer kept; returns how many."""
    which = f"created_at < clock_timestamp() - interval '{KEPT}' ORDER BY created_at"
    return await _delete_old(db, "idempotency_keys", "caller, key", which)


async def delete_deliveries(db: AsyncConnection, age_s: float) -> int:
    """Delete some settled deliveries; returns how many."""
    is_old = "state <> 'pending' AND created_at < clock_timestamp() - make_interval(secs => :age_s)"
    return await _delete_old(db, "deliveries", "id", f"{is_old} ORDER BY created_at", age_s=age_s)


async def delete_minutes(db: AsyncConnection) -> int:
    """Delete some minutes that charts do not show any more; returns how many rows."""
    which = "minute < now() - make_interval(days => :days) ORDER BY minute"
    return sum(
        [
            await _delete_old(db, table, key, which, days=KEPT_DAYS)
            for table, key in (("queue_minutes", "minute, queue"), ("service_minutes", "minute"))
        ]
    )


async def delete_completed_jobs(db: AsyncConnection, age_s: float) -> int:
    """Delete completed jobs of some old runs; returns how many rows were touched. What failed stays with its run.

    A run that has none left is marked, so that what is kept is not looked through again.
    """
    runs = await _old_runs(db, age_s, THINNED)
    gone = await _delete_hanging(db, "jobs", "h.state = 'completed'", runs)
    marked = await db.scalars(
        text("""
        UPDATE runs r SET jobs_forgotten = true WHERE r.id = ANY(CAST(:runs AS uuid[]))
          AND NOT EXISTS (SELECT FROM jobs j WHERE j.run_id = r.id AND j.state = 'completed') RETURNING 1"""),
        {"runs": runs},
    )
    return gone + len(marked.all())


async def delete_runs(db: AsyncConnection, age_s: float) -> int:
    """Delete some of what some old runs left, the runs themselves last; returns how many rows.

    A run is never deleted with many jobs or problems still hanging on it, which one cascade would have to delete.
    """
    runs = await _old_runs(db, age_s, DONE_WITH)
    jobs = await _delete_hanging(db, "jobs", f"h.state IN {CLOSED_JOB}", runs)
    problems = await _delete_hanging(db, "problems", "true", runs)
    gone = await db.scalars(
        text("""
        DELETE FROM runs r WHERE r.id = ANY(CAST(:runs AS uuid[]))
          AND NOT EXISTS (SELECT FROM jobs j WHERE j.run_id = r.id)
          AND NOT EXISTS (SELECT FROM problems p WHERE p.run_id = r.id) RETURNING 1"""),
        {"runs": runs},
    )
    return jobs + problems + len(gone.all())


async def _old_runs(db: AsyncConnection, age_s: float, condition: str) -> list[UUID]:
    """Hold some of the oldest runs of which `condition` is true; those that another process has are left to it."""
    runs = await db.scalars(text(OLD_RUNS.format(condition=condition)), {"age_s": age_s, "most": MOST_RUNS})
    return list(runs)


async def _delete_hanging(db: AsyncConnection, table: str, condition: str, runs: list[UUID]) -> int:
    """Delete at most BATCH rows of a table that hang on these runs."""
    return await _count(db, HANGING.format(table=table, condition=condition), runs=runs)


async def _delete_old(db: AsyncConnection, table: str, key: str, which: str, **parameters: object) -> int:
    """Delete at most BATCH of the rows of a table that `which` names and nobody has locked."""
    return await _count(db, FORGOTTEN_ROWS.format(table=table, key=key, which=which), **parameters)


async def _count(db: AsyncConnection, delete: str, **parameters: object) -> int:
    return int(
        await db.scalar(
            text(f"WITH gone AS ({delete} RETURNING 1) SELECT count(*) FROM gone"), {"most": BATCH, **parameters}
        )
        or 0
    )
