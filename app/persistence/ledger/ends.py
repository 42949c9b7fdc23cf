"""The fence, and how a job ends: completed, failed, delayed, cancelled."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import ClaimLost
from app.persistence.ledger.rows import ClaimedJob, to_json
from app.persistence.statements import ask, column, value
from app.persistence.states import CANCELLED, OPEN_JOB

ERROR_MAX_CHARS = 2_000
"""What is kept of one attempt's error; what was cut is said."""
LAST_ERROR = "CASE WHEN j.attempts > 0 THEN j.errors -> -1 ->> 'error' END"
"""Of the last attempt, if there was one: what job `j` only waited for is no error of its once that is over."""


async def fence(db: AsyncConnection, job: ClaimedJob) -> None:
    """Lock the job's row and hold it to the end of the transaction, without closing the job.

    Raises:
        ClaimLost: the claim does not hold any more; roll back.
    """
    held = await value(
        db,
        "SELECT 1 FROM jobs WHERE id = :id AND claim = :claim AND state = 'active' FOR UPDATE",
        {"id": job.id, "claim": job.claim},
    )
    if held is None:
        raise ClaimLost(f"job {job.id} is not this worker's any more")


async def hold(db: AsyncConnection, jobs: Sequence[ClaimedJob]) -> set[str]:
    """The fence of a commit that ends a batch of jobs: lock those whose claim holds, by id, and return their ids.

    What does not come back writes nothing; `complete` follows in the same transaction, once the results are known.
    """
    held = await column(
        db,
        """
        SELECT j.id FROM (
            SELECT * FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS t(id text, claim uuid)
            ORDER BY id COLLATE "C") r
        CROSS JOIN LATERAL (
            SELECT id FROM jobs WHERE id = r.id AND claim = r.claim AND state = 'active' FOR UPDATE) j""",
        {"jobs": to_json([{"id": job.id, "claim": str(job.claim)} for job in jobs])},
    )
    return set(held)


async def checkpoint(db: AsyncConnection, job: ClaimedJob) -> None:
    """The fence of a commit in the middle of a job: progress was made, so earlier deaths are forgiven.

    Raises:
        ClaimLost: the claim does not hold any more; roll back.
    """
    held = await value(
        db,
        "UPDATE jobs SET deaths = 0 WHERE id = :id AND claim = :claim AND state = 'active' RETURNING 1",
        {"id": job.id, "claim": job.claim},
    )
    if held is None:
        raise ClaimLost(f"job {job.id} is not this worker's any more")


async def complete(db: AsyncConnection, results: Sequence[tuple[ClaimedJob, msgspec.Struct | None]]) -> set[str]:
    """The fence of a commit that ends jobs: close those whose claim holds, and return their ids.

    What does not come back writes nothing: leave its rows out of the batch, or roll a single job back. An image job
    that was superseded gives its key back: its picture may be named again in the same run.
    """
    rows = await column(
        db,
        f"""
        WITH ended AS (
            SELECT j.id, r.result FROM (
                SELECT * FROM jsonb_to_recordset(CAST(:ended AS jsonb)) AS t(id text, claim uuid, result jsonb)
                ORDER BY id COLLATE "C") r
            CROSS JOIN LATERAL (
                SELECT id FROM jobs WHERE id = r.id AND claim = r.claim AND state = 'active' FOR UPDATE) j)
        UPDATE jobs j SET state = 'completed', claim = NULL, finished_at = clock_timestamp(), result = ended.result,
            error = {LAST_ERROR},
            key = CASE WHEN j.queue = 'image-upload' AND jsonb_exists(ended.result, 'superseded')
                       THEN j.key || '@' || j.id ELSE j.key END,
            progress = CASE WHEN j.queue = 'image-upload' THEN NULL
                            ELSE jsonb_build_object('step', 'completed', 'percentage', 100) END
        FROM ended WHERE j.id = ended.id AND j.id = ANY(ARRAY(SELECT id FROM ended)) RETURNING j.id""",
        {
            "ended": to_json(
                [{"id": job.id, "claim": str(job.claim), "result": result or {}} for job, result in results]
            )
        },
    )
    return set(rows)


async def complete_one(db: AsyncConnection, job: ClaimedJob, result: msgspec.Struct | None = None) -> None:
    """Close one job as completed; without a result where `set_result` follows in the same transaction.

    Raises:
        ClaimLost: the claim does not hold any more; roll back.
    """
    if not await complete(db, [(job, result)]):
        raise ClaimLost(f"job {job.id} is not this worker's any more")


async def set_result(db: AsyncConnection, job_id: str, result: msgspec.Struct) -> None:
    """Replace the result of a job that this transaction completed, once its numbers are known."""
    await ask(
        db,
        "UPDATE jobs SET result = CAST(:result AS jsonb) WHERE id = :id",
        {"id": job_id, "result": to_json(result)},
    )


async def written_before(db: AsyncConnection, jobs: Sequence[tuple[ClaimedJob, str, str]]) -> set[str]:
    """Which of these families' jobs another one of their run went before, that wrote the family; their ids.

    With each job go the keys that those of its family have. The caller holds the families.
    """
    if not jobs:
        return set()
    rows = await ask(
        db,
        """
        SELECT r.id FROM unnest(CAST(:ids AS text[]), CAST(:runs AS uuid[]), CAST(:keys AS text[]),
            CAST(:lessened AS text[])) AS r(id, run_id, key, lessened)
        LEFT JOIN LATERAL (SELECT id FROM jobs WHERE run_id = r.run_id AND queue = 'supplier-sync' LIMIT 1) s ON true
        CROSS JOIN LATERAL (
            SELECT FROM jobs WHERE run_id = r.run_id AND queue = 'product-family' AND id <> r.id
              AND key IN (r.key, r.lessened, r.key || '?' || s.id, r.key || '+' || s.id) AND state = 'completed'
              AND NOT jsonb_exists_any(result, ARRAY['superseded', 'deferred', 'suspect']) LIMIT 1) j""",
        {
            "ids": [job.id for job, _, _ in jobs],
            "runs": [job.run_id for job, _, _ in jobs],
            "keys": [key for _, key, _ in jobs],
            "lessened": [key for *_, key in jobs],
        },
    )
    return {row.id for row in rows}


async def take_back_unchanged(
    db: AsyncConnection, jobs: Sequence[tuple[str, str]]
) -> list[tuple[tuple[str, str], int]]:
    """Take from the results of families' jobs that documents changed nothing, since they do after all.

    `jobs` are runs and keys; with each goes the job that its run's end made for what was put off. The caller holds the
    families, so that each result is taken from once. Returns which had such a result, and how many documents.
    """
    if not jobs:
        return []
    rows = await ask(
        db,
        """
        WITH counted AS (
            SELECT CAST(r.run_id AS text) AS run_id, r.key, j.id, j.number
            FROM unnest(CAST(:runs AS uuid[]), CAST(:keys AS text[])) AS r(run_id, key)
            LEFT JOIN LATERAL (
                SELECT id FROM jobs WHERE run_id = r.run_id AND queue = 'supplier-sync' LIMIT 1) s ON true
            CROSS JOIN LATERAL (
                SELECT id, CAST(result -> 'documentsUnchanged' AS int) AS number FROM jobs
                WHERE run_id = r.run_id AND queue = 'product-family' AND key IN (r.key, r.key || '?' || s.id)
                  AND state = 'completed' AND jsonb_exists(result, 'documentsUnchanged') FOR UPDATE) j),
        taken AS (
            UPDATE jobs SET result = result - 'documentsUnchanged' WHERE id = ANY(ARRAY(SELECT id FROM counted)))
        SELECT run_id, key, number FROM counted""",
        {"runs": [run_id for run_id, _ in jobs], "keys": [key for _, key in jobs]},
    )
    return [((row.run_id, row.key), row.number) for row in rows]


async def fail(db: AsyncConnection, job: ClaimedJob, error: str) -> bool:
    """Close a job as failed; False when the claim does not hold any more."""
    return await _spend(db, job, error, "failed", 0)


async def delay(db: AsyncConnection, job: ClaimedJob, error: str, wait_s: float) -> bool:
    """Spend an attempt and try again in `wait_s` seconds; False when the claim does not hold any more."""
    return await _spend(db, job, error, "delayed", wait_s)


async def _spend(db: AsyncConnection, job: ClaimedJob, error: str, state: str, wait_s: float) -> bool:
    row = await value(
        db,
        """
        UPDATE jobs SET state = :state, claim = NULL, attempts = attempts + 1, error = :error,
            errors = errors || jsonb_build_array(jsonb_build_object(
                'attempt', attempts + 1, 'error', CAST(:error AS text), 'at', clock_timestamp())),
            run_at = clock_timestamp() + make_interval(secs => :wait_s),
            finished_at = CASE WHEN :state = 'failed' THEN clock_timestamp() END, dispatched_at = clock_timestamp()
        WHERE id = :id AND claim = :claim AND state = 'active' RETURNING 1""",
        {"id": job.id, "claim": job.claim, "state": state, "error": bounded(error), "wait_s": wait_s},
    )
    return row is not None


async def end_cancelled(db: AsyncConnection, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Close open jobs of runs that are being cancelled; returns run id to queue to how many there were."""
    rows = await ask(
        db,
        f"""
        WITH ended AS (
            SELECT j.id FROM (SELECT id FROM unnest(CAST(:ids AS text[])) AS t(id) ORDER BY id COLLATE "C") asked
            CROSS JOIN LATERAL (
                SELECT j.id FROM jobs j JOIN runs r ON r.id = j.run_id
                WHERE j.id = asked.id AND r.status = 'cancelling' AND j.state IN {OPEN_JOB}
                FOR UPDATE OF j) j)
        UPDATE jobs j SET {CANCELLED}
        FROM ended WHERE j.id = ended.id RETURNING j.run_id, j.queue""",
        {"ids": list(ids)},
    )
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        queues = counts.setdefault(str(row.run_id), {})
        queues[row.queue] = queues.get(row.queue, 0) + 1
    return counts


def bounded(error: str) -> str:
    """An error's text cut to what the ledger keeps, with a word on how much was cut."""
    clean = error.encode("utf-8", "replace").decode().replace("\x00", "�") or "failed without a message"
    if len(clean) <= ERROR_MAX_CHARS:
        return clean
    return f"{clean[:ERROR_MAX_CHARS]}… ({len(clean) - ERROR_MAX_CHARS} more characters)"
