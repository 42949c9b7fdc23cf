"""A run's books: counters and open jobs move together, and who reads 0 writes the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalogue.verdict import RunCounts, decide_end
from app.errors import RunCancelled
from app.metrics.work import RUN_SECONDS, count_items
from app.persistence import webhooks
from app.persistence.after_commit import after_commit
from app.persistence.last_statements import ask_last
from app.persistence.ledger import ADDED, NewJob, Owner, added_values
from app.persistence.runs.remaining import may_end, note_open
from app.persistence.statements import ask, value

COUNTERS = frozenset(
    {f"manifest_{name}" for name in ("entries", "new", "changed", "unchanged", "removed", "invalid")}
    | {f"documents_{name}" for name in ("wanted", "fetched", "unchanged", "failed")}
    | {f"families_{name}" for name in ("total", "completed", "failed", "cancelled")}
    | {f"variants_{name}" for name in ("created", "updated", "unchanged", "discontinued", "reactivated")}
    | {f"images_{name}" for name in ("total", "uploaded", "deduplicated", "failed", "cancelled")}
)

ENDS, CANCELLING = "open_jobs = 0", "status = 'cancelling'"
"""Where the books of a run are not the last statement: its end follows, or what would add jobs is rolled back."""
UNNAMED = "something failed; see the run's problems"


class Move(NamedTuple):
    """What a transaction changes in the books of one run."""

    run_id: str
    counts: Counter[str]
    added: int
    finished: int


async def book(
    db: AsyncConnection, run_id: str, counts: Counter[str], *, added: int = 0, finished: int = 0, last: bool = False
) -> None:
    """In a committing transaction, after what it writes: move the counters and `open_jobs`; write the end at 0.

    The caller holds a job of the run, or the run itself, so that nobody deletes it meanwhile.

    `last` says that nothing follows: COMMIT goes out with it, where the run is far from its end (`last_statements.py`).

    Raises:
        RunCancelled: the run is being cancelled and this transaction wanted to add jobs to it; roll back.
        NotTheLast: for `Database.transact`.
    """
    row = await _move(db, Move(run_id, counts, added, finished), last=last)
    await _look(db, run_id, row, added)


async def book_each(db: AsyncConnection, moves: Sequence[Move]) -> None:
    """`book` for several runs, in the order of their ids; nothing follows in the transaction."""
    in_order = sorted(moves, key=lambda move: move.run_id)
    for number, (run_id, counts, added, finished) in enumerate(in_order, 1):
        await book(db, run_id, counts, added=added, finished=finished, last=number == len(moves))


async def book_with_jobs(
    db: AsyncConnection, owner: Owner, counts: Counter[str], jobs: Sequence[NewJob], *, counted: str
) -> list[str]:
    """As `book`, with the jobs that it adds in one statement, where they are the last that the transaction writes.

    What is new to the run moves the counter `counted`, too; returns the ids of that.

    Raises:
        RunCancelled: as with `book`.
    """
    run_id = owner[0]
    if not jobs:
        await book(db, run_id, counts, last=True)
        return []
    if counted not in COUNTERS or counts[counted]:
        raise KeyError(f"{counted} is no counter of a run, or is counted twice")
    moved = _known(counts)
    (row,) = await ask_last(
        db,
        f"""
        WITH added AS ({ADDED}), number AS (SELECT CAST(count(*) AS int) AS new FROM added)
        UPDATE runs SET open_jobs = open_jobs + new, {counted} = {counted} + new{_sets(moved)}
        FROM number WHERE id = CAST(:id AS uuid)
        RETURNING open_jobs, status, new, ARRAY(SELECT id FROM added) AS ids""",
        {"id": run_id, **moved, **added_values(owner, jobs)},
        unless=f"{ENDS} OR {CANCELLING} AND new > 0",
    )
    after_commit(db, partial(count_items, {**moved, counted: row.new}))
    await _look(db, run_id, row, row.new)
    return list(row.ids)


async def _look(db: AsyncConnection, run_id: str, row: Any, added: int) -> None:
    """Whether the run, whose row is held now, may go on, or ends."""
    if row.status == "cancelling" and added:
        raise RunCancelled(f"run {run_id} is being cancelled")
    if row.open_jobs == 0:
        await _end(db, run_id)


async def _move(db: AsyncConnection, move: Move, *, last: bool = False) -> Any:
    moved = _known(move.counts)
    sql = f"""
        UPDATE runs SET open_jobs = open_jobs + :opened{_sets(moved)} WHERE id = CAST(:id AS uuid)
        RETURNING open_jobs, status"""
    opened = move.added - move.finished
    given = {"id": move.run_id, "opened": opened, **moved}
    unless = f"{ENDS} OR {CANCELLING}" if move.added else ENDS
    goes_on = last and not may_end(move.run_id, opened)
    (row,) = await (ask_last(db, sql, given, unless=unless) if goes_on else ask(db, sql, given))
    note_open(move.run_id, row.open_jobs)
    after_commit(db, partial(count_items, moved))
    return row


def _known(counts: Counter[str]) -> dict[str, int]:
    """What the counters move by, in the order of their names, so that alike moves are alike statements."""
    moved = {name: number for name, number in sorted(counts.items()) if number}
    unknown = set(moved) - COUNTERS
    if unknown:
        raise KeyError(f"no such counter of a run: {sorted(unknown)}")
    return moved


def _sets(moved: Iterable[str]) -> str:
    return "".join(f", {name} = {name} + :{name}" for name in moved)


async def _end(db: AsyncConnection, run_id: str) -> None:
    """Write the end of a run whose row this transaction holds, or the repair of one that had ended before."""
    (row,) = await ask(
        db,
        """
        SELECT status, error, finished_at, fatal, guard, documents_wanted, documents_failed, families_failed,
            images_failed FROM runs WHERE id = CAST(:id AS uuid)""",
        {"id": run_id},
    )
    status = decide_end(
        RunCounts(
            cancelling=row.status in {"cancelling", "cancelled"},
            fatal=row.fatal,
            guarded=row.guard is not None,
            documents_wanted=row.documents_wanted,
            documents_failed=row.documents_failed,
            families_failed=row.families_failed,
            images_failed=row.images_failed,
        )
    )
    if row.finished_at is None:
        error = None
        if status in {"failed", "completed_with_errors"}:
            error = await _why(db, run_id, row.error, status, fatal=row.fatal)
        await _write_end(db, run_id, status, error)
    else:
        await _write_repair(db, run_id, row.status, status)


async def _why(db: AsyncConnection, run_id: str, noted: str | None, status: str, *, fatal: bool) -> str:
    """The error of a run: what was noted of it; of one that failed by its documents, what most of them have."""
    if status == "failed" and not fatal:
        return await commonest_reason(db, run_id) or noted or UNNAMED
    return noted or await commonest_reason(db, run_id) or UNNAMED


async def _write_end(db: AsyncConnection, run_id: str, status: str, error: str | None) -> None:
    took_s = await value(
        db,
        """
        UPDATE runs SET status = :status, error = :error, finished_at = clock_timestamp(),
            started_at = COALESCE(started_at, clock_timestamp()), lease_until = NULL WHERE id = CAST(:id AS uuid)
        RETURNING CAST(EXTRACT(epoch FROM finished_at - created_at) AS double precision)""",
        {"id": run_id, "status": status, "error": error},
    )
    after_commit(db, partial(RUN_SECONDS.labels(status).observe, took_s))
    await webhooks.enqueue_run_finished(db, run_id)


async def _write_repair(db: AsyncConnection, run_id: str, old: str, new: str) -> None:
    healed = old == "completed_with_errors" and new == "completed"
    await ask(
        db,
        """
        UPDATE runs SET repaired_at = clock_timestamp(),
            status = CASE WHEN :healed THEN 'completed' ELSE status END,
            error = CASE WHEN :healed THEN NULL ELSE error END
        WHERE id = CAST(:id AS uuid)""",
        {"id": run_id, "healed": healed},
    )


async def commonest_reason(db: AsyncConnection, run_id: str) -> str | None:
    """The reason that most of the run's errors have, with how many there are of it."""
    rows = await ask(
        db,
        """
        SELECT reason, count(*) AS number FROM problems
        WHERE run_id = CAST(:id AS uuid) AND severity = 'error'
        GROUP BY reason ORDER BY count(*) DESC, min(id) LIMIT 1""",
        {"id": run_id},
    )
    if not rows:
        return None
    (row,) = rows
    return str(row.reason) if row.number == 1 else f"{row.reason} ({row.number} times)"
