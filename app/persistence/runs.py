"""Runs: one sync of one supplier, its counters, and its one end.

The last statement of every committing transaction is `settle`: it moves `open_jobs` and the counters together, and who
reads 0 writes the end in the same transaction. The run's row is the last that is locked, so it is held only for the
commit itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalogue.verdict import RunCounts, decide_end
from app.errors import RunCancelled
from app.persistence import webhooks
from app.persistence.database import RepeatTransaction
from app.persistence.documents import ManifestDiff
from app.persistence.ledger import to_json

COUNTERS = frozenset(
    {f"manifest_{name}" for name in ("entries", "new", "changed", "unchanged", "removed", "invalid")}
    | {f"documents_{name}" for name in ("wanted", "fetched", "unchanged", "failed")}
    | {f"families_{name}" for name in ("total", "completed", "failed", "cancelled")}
    | {f"variants_{name}" for name in ("created", "updated", "unchanged", "discontinued", "reactivated")}
    | {f"images_{name}" for name in ("total", "uploaded", "deduplicated", "failed", "cancelled")}
)
UNDER_WAY = ("queued", "running", "cancelling")


class RunStart(msgspec.Struct, frozen=True):
    """A run that was started, or the one that was already under way."""

    run_id: str
    job_id: str
    started: bool


async def start_run(
    db: AsyncConnection, *, supplier_id: int, job_id: str, mode: str, trigger: str, options: Mapping[str, Any]
) -> RunStart:
    """Write a run and its supplier job, unless a run of the supplier is under way: then return that one."""
    retried = await _retried(db, supplier_id)
    if retried is not None:
        return retried
    run_id = str(uuid4())
    row = await db.scalar(
        text("""
        INSERT INTO runs (id, supplier_id, mode, trigger, status, options, supplier_job_id, open_jobs, lease_until,
                          changes_since)
        VALUES (CAST(:id AS uuid), :supplier_id, :mode, :trigger, 'queued', CAST(:options AS jsonb), :job_id, 1,
                CASE WHEN :mode = 'direct' THEN clock_timestamp() + interval '15 s' END, (SELECT seq FROM change_head))
        ON CONFLICT (supplier_id) WHERE status IN ('queued', 'running', 'cancelling') DO NOTHING RETURNING 1"""),
        {
            "id": run_id,
            "supplier_id": supplier_id,
            "mode": mode,
            "trigger": trigger,
            "options": to_json(dict(options)),
            "job_id": job_id,
        },
    )
    if row is not None:
        return RunStart(run_id, job_id, started=True)
    other = await db.execute(
        text("SELECT id, supplier_job_id FROM runs WHERE supplier_id = :supplier_id AND status = ANY(:under_way)"),
        {"supplier_id": supplier_id, "under_way": list(UNDER_WAY)},
    )
    found = other.one()
    return RunStart(str(found.id), found.supplier_job_id, started=False)


async def _retried(db: AsyncConnection, supplier_id: int) -> RunStart | None:
    """Hold the supplier; the sync of an ended run that was retried by hand and is not over counts as under way."""
    await db.execute(text("SELECT 1 FROM suppliers WHERE id = :id FOR NO KEY UPDATE"), {"id": supplier_id})
    rows = await db.execute(
        text("""
        SELECT j.id, j.run_id FROM jobs j JOIN runs r ON r.id = j.run_id
        WHERE j.supplier_id = :id AND j.queue = 'supplier-sync' AND j.state IN ('waiting', 'active', 'delayed')
          AND NOT j.direct AND r.finished_at IS NOT NULL LIMIT 1"""),
        {"id": supplier_id},
    )
    row = rows.one_or_none()
    return None if row is None else RunStart(str(row.run_id), row.id, started=False)


async def mark_running(db: AsyncConnection, run_id: str) -> None:
    """Note that the run's first job has begun."""
    await db.execute(
        text("""
        UPDATE runs SET status = 'running', started_at = clock_timestamp()
        WHERE id = CAST(:id AS uuid) AND status = 'queued'"""),
        {"id": run_id},
    )


async def settle(db: AsyncConnection, run_id: str, counts: Counter[str], *, added: int = 0, finished: int = 0) -> None:
    """The last statement of a committing transaction: move the counters and `open_jobs`; write the end at 0.

    Raises:
        RunCancelled: the run is being cancelled and this transaction wanted to add jobs to it; roll back.
    """
    row = await _move(db, run_id, counts, added - finished)
    if row.status == "cancelling" and added:
        raise RunCancelled(f"run {run_id} is being cancelled")
    if row.open_jobs == 0:
        await _end(db, run_id)


async def _move(db: AsyncConnection, run_id: str, counts: Counter[str], opened: int) -> Any:
    moved = {name: number for name, number in sorted(counts.items()) if number}
    unknown = set(moved) - COUNTERS
    if unknown:
        raise KeyError(f"no such counter of a run: {sorted(unknown)}")
    sets = "".join(f", {name} = {name} + :{name}" for name in moved)
    result = await db.execute(
        text(f"""
        UPDATE runs SET open_jobs = open_jobs + :opened{sets} WHERE id = CAST(:id AS uuid)
        RETURNING open_jobs, status"""),
        {"id": run_id, "opened": opened, **moved},
    )
    return result.one()


async def _end(db: AsyncConnection, run_id: str) -> None:
    """Write the end of a run whose row this transaction holds, or the repair of one that had ended before."""
    row = (
        await db.execute(
            text("""
            SELECT status, error, finished_at, fatal, guard, documents_wanted, documents_failed, families_failed,
                images_failed FROM runs WHERE id = CAST(:id AS uuid)"""),
            {"id": run_id},
        )
    ).one()
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
            error = row.error or await commonest_reason(db, run_id) or "something failed; see the run's problems"
        await _write_end(db, run_id, status, error)
    else:
        await _write_repair(db, run_id, row.status, status)


async def _write_end(db: AsyncConnection, run_id: str, status: str, error: str | None) -> None:
    await db.execute(
        text("""
        UPDATE runs SET status = :status, error = :error, finished_at = clock_timestamp(),
            started_at = COALESCE(started_at, clock_timestamp()), lease_until = NULL WHERE id = CAST(:id AS uuid)"""),
        {"id": run_id, "status": status, "error": error},
    )
    await webhooks.enqueue_run_finished(db, run_id)


async def _write_repair(db: AsyncConnection, run_id: str, old: str, new: str) -> None:
    healed = old == "completed_with_errors" and new == "completed"
    await db.execute(
        text("""
        UPDATE runs SET repaired_at = clock_timestamp(),
            status = CASE WHEN :healed THEN 'completed' ELSE status END,
            error = CASE WHEN :healed THEN NULL ELSE error END
        WHERE id = CAST(:id AS uuid)"""),
        {"id": run_id, "healed": healed},
    )


async def commonest_reason(db: AsyncConnection, run_id: str) -> str | None:
    """The reason that most of the run's errors have, with how many there are of it."""
    row = (
        await db.execute(
            text("""
            SELECT reason, count(*) AS number FROM problems
            WHERE run_id = CAST(:id AS uuid) AND severity = 'error'
            GROUP BY reason ORDER BY count(*) DESC, min(id) LIMIT 1"""),
            {"id": run_id},
        )
    ).one_or_none()
    if row is None:
        return None
    return row.reason if row.number == 1 else f"{row.reason} ({row.number} times)"


async def set_manifest(
    db: AsyncConnection, run_id: str, sha256: str, diff: ManifestDiff, *, invalid: int, to_fetch: int
) -> None:
    """Write what the manifest said of the supplier.

    A supplier job that is run again meets a catalogue that its first half has changed already, so for the same manifest
    the counts stay as they were. What failed in this run is not asked for again in it.
    """
    await db.execute(
        text("""
        UPDATE runs SET manifest_sha256 = :sha256, manifest_entries = :entries, manifest_new = :new,
            manifest_changed = :changed, manifest_unchanged = :unchanged, manifest_removed = :removed,
            manifest_invalid = :invalid
        WHERE id = CAST(:id AS uuid) AND manifest_sha256 IS DISTINCT FROM :sha256"""),
        {
            "id": run_id,
            "sha256": sha256,
            "entries": diff.entries,
            "new": diff.new,
            "changed": diff.changed,
            "unchanged": diff.unchanged,
            "removed": diff.removed,
            "invalid": invalid,
        },
    )
    await db.execute(
        text("""
        UPDATE runs SET documents_wanted = documents_fetched + documents_failed + :to_fetch
        WHERE id = CAST(:id AS uuid)"""),
        {"id": run_id, "to_fetch": to_fetch},
    )


async def families_so_far(db: AsyncConnection, run_id: str) -> int:
    """How many family jobs the run has made."""
    return int(
        await db.scalar(text("SELECT families_total FROM runs WHERE id = CAST(:id AS uuid)"), {"id": run_id}) or 0
    )


async def set_guard(db: AsyncConnection, run_id: str, guard: Mapping[str, Any], error: str) -> None:
    """Note that nothing was removed, and why."""
    await db.execute(
        text("UPDATE runs SET guard = CAST(:guard AS jsonb), error = :error WHERE id = CAST(:id AS uuid)"),
        {"id": run_id, "guard": to_json(dict(guard)), "error": error},
    )


async def set_fatal(db: AsyncConnection, run_id: str, error: str) -> None:
    """Note that the supplier job itself failed, which fails the run."""
    await db.execute(
        text("UPDATE runs SET fatal = true, error = :error WHERE id = CAST(:id AS uuid)"),
        {"id": run_id, "error": error},
    )


async def cancel(db: AsyncConnection, run_id: str) -> bool:
    """Cancel a run: its waiting and delayed jobs at once, its active ones at their next fence; False if it is over.

    First the jobs, in the order of ids, then the run's row, then the jobs once more: a stage that committed in between
    may have added some, and whoever commits after us reads `cancelling` from the row.
    """
    counts = await _cancel_open(db, run_id)
    row = (
        await db.execute(
            text("""
            UPDATE runs SET status = 'cancelling' WHERE id = CAST(:id AS uuid) AND status = ANY(:under_way)
            RETURNING status"""),
            {"id": run_id, "under_way": list(UNDER_WAY)},
        )
    ).one_or_none()
    if row is None:
        return False
    counts += await _cancel_open(db, run_id)
    await settle(db, run_id, cancelled_counts(counts), finished=counts.total())
    return True


async def _cancel_open(db: AsyncConnection, run_id: str) -> Counter[str]:
    rows = await db.scalars(
        text("""
        WITH open AS (
            SELECT id FROM jobs WHERE run_id = CAST(:id AS uuid) AND state IN ('waiting', 'delayed', 'active')
            ORDER BY id FOR UPDATE),
        told AS (
            UPDATE jobs j SET claim = NULL FROM open WHERE j.id = open.id AND j.state = 'active' RETURNING 1)
        UPDATE jobs j SET state = 'cancelled', claim = NULL, finished_at = clock_timestamp()
        FROM open WHERE j.id = open.id AND j.state IN ('waiting', 'delayed') RETURNING j.queue"""),
        {"id": run_id},
    )
    return Counter(rows)


def cancelled_counts(queues: Mapping[str, int]) -> Counter[str]:
    """The run's counters for so many cancelled jobs of each queue."""
    return Counter(families_cancelled=queues.get("product-family", 0), images_cancelled=queues.get("image-upload", 0))


async def renew_lease(db: AsyncConnection, run_id: str) -> None:
    """Say that the process that runs a direct sync is alive."""
    await db.execute(
        text("UPDATE runs SET lease_until = clock_timestamp() + interval '15 s' WHERE id = CAST(:id AS uuid)"),
        {"id": run_id},
    )


async def is_over(db: AsyncConnection, run_id: str) -> bool:
    """Whether the run has ended."""
    status = await db.scalar(text("SELECT status FROM runs WHERE id = CAST(:id AS uuid)"), {"id": run_id})
    return status not in UNDER_WAY


async def direct_totals(db: AsyncConnection, run_id: str) -> dict[str, Any]:
    """What a direct sync answers of a run (API.md, "Sync")."""
    rows = await db.execute(
        text("""
        SELECT families_completed AS products_processed,
            documents_failed + families_failed + images_failed + CAST(fatal AS int) AS errors,
            COALESCE((SELECT CAST(j.result ->> 'familiesSkipped' AS int) FROM jobs j
                      WHERE j.id = runs.supplier_job_id), 0) AS skipped,
            CAST(EXTRACT(epoch FROM finished_at - created_at) AS double precision) AS duration_s
        FROM runs WHERE id = CAST(:id AS uuid)"""),
        {"id": run_id},
    )
    return dict(rows.mappings().one())


async def end_abandoned(db: AsyncConnection) -> list[str]:
    """End direct runs whose process is gone as `failed`, their open jobs `cancelled`; returns their ids."""
    gone = await db.scalars(
        text("""
        SELECT id FROM runs WHERE mode = 'direct' AND status IN ('queued', 'running', 'cancelling')
          AND lease_until < clock_timestamp() ORDER BY id""")
    )
    ended = [str(run_id) for run_id in gone]
    return [run_id for run_id in ended if await _end_abandoned(db, run_id)]


async def _end_abandoned(db: AsyncConnection, run_id: str) -> bool:
    """End one; False when another did meanwhile. The run's row is locked last, so only then is it seen whether.

    Raises:
        RepeatTransaction: its process turned out to live after jobs were cancelled.
    """
    rows = await db.scalars(
        text("""
        WITH open AS (
            SELECT id FROM jobs WHERE run_id = CAST(:id AS uuid) AND state IN ('waiting', 'delayed', 'active')
            ORDER BY id FOR UPDATE)
        UPDATE jobs j SET state = 'cancelled', claim = NULL, finished_at = clock_timestamp()
        FROM open WHERE j.id = open.id RETURNING j.queue"""),
        {"id": run_id},
    )
    counts = Counter(rows)
    held = await db.scalar(
        text("""
        UPDATE runs SET fatal = true, error = 'the process that ran this direct sync is gone'
        WHERE id = CAST(:id AS uuid) AND finished_at IS NULL AND lease_until < clock_timestamp() RETURNING 1"""),
        {"id": run_id},
    )
    if held is None:
        if counts:
            raise RepeatTransaction
        return False
    await _move(db, run_id, cancelled_counts(counts), -counts.total())
    await _write_end(db, run_id, "failed", "the process that ran this direct sync is gone")
    return True
