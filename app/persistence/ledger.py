"""The ledger of jobs: what is to be done, who does it, and how it ended. The truth behind every queue.

Rules (ENGINE.md 1): a job is claimed before its code runs, by a random token; every commit of a stage starts with the
fence, which matches that token; what does not come back from the fence writes nothing. Rows are locked by id, before
any other row, and the run's row last. Functions take an open connection; whoever calls commits.

Where jobs are given by id, each is looked up by its primary key in a LATERAL subquery with a lock or a LIMIT. A plain
join would be planned by what PostgreSQL thinks the table holds, which in the middle of a first sync is nothing: it then
reads the index of all open jobs once a batch.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import ClaimLost

MAX_DEATHS = 10
"""Workers lost in a row without progress, after which a job is taken to be what kills them (ENGINE.md 1)."""
SUSPECT_DEATHS = 3
"""From here on a job does not start together with those that it died with: one of them may be the killer."""
SPREAD_S = 3.0
"""The starts of such jobs are spread over so many seconds, so that the innocent ones end without the killer."""
ERROR_MAX_CHARS = 2_000
"""What is kept of one attempt's error; what was cut is said."""


class NewJob(msgspec.Struct, frozen=True):
    """A job to be written, with the transaction that makes it necessary."""

    id: str
    queue: str
    key: str
    """Unique in its run and queue: asking twice makes one job."""
    args: dict[str, Any]
    parent_id: str | None = None


class ClaimedJob(msgspec.Struct, frozen=True):
    """A job that this process may work on for as long as its claim holds."""

    id: str
    queue: str
    run_id: str
    supplier_id: int
    parent_id: str | None
    args: dict[str, Any]
    direct: bool
    attempts: int
    """Attempts spent so far, the running one not among them."""
    deaths: int
    claim: UUID
    options: dict[str, Any]
    """The run's options: `force`, `skus`."""


class Unclaimed(msgspec.Struct, frozen=True):
    """A job that was not claimed: closed for good, or to be looked at again later."""

    id: str
    closed: bool
    wait_ms: int
    paused: bool = False
    """Its queue is paused: nothing of it may start."""
    unknown: bool = False
    """The ledger has no such job: it was forgotten, or is another installation's."""


def new_job_id(queue: str) -> str:
    """An id for a job of `queue`: the time in ms and 80 random bits, as in a UUID of version 7 (RFC 9562).

    The time only keeps new rows together at the end of each index; nothing is decided by it.
    """
    return f"{queue}-{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


async def add_jobs(
    db: AsyncConnection, jobs: Sequence[NewJob], *, run_id: str, supplier_id: int, direct: bool
) -> list[str]:
    """Write jobs as `waiting`, and return the ids of those whose key is new in the run.

    `dispatched_at` is set as if the message had been sent, since it will be right after the commit; where that did not
    happen the reconciler notices after ten seconds.

    A job that is there is looked for first: ON CONFLICT alone would wait for whoever is ending it, and that one may
    wait for the addresses that the caller holds.
    """
    if not jobs:
        return []
    rows = await db.scalars(
        text("""
        INSERT INTO jobs (id, queue, run_id, supplier_id, parent_id, key, args, direct, dispatched_at)
        SELECT r.id, r.queue, CAST(:run_id AS uuid), :supplier_id, r.parent_id, r.key, r.args, :direct,
               clock_timestamp()
        FROM jsonb_to_recordset(CAST(:jobs AS jsonb))
             AS r(id text, queue text, parent_id text, key text, args jsonb)
        WHERE (SELECT j.id FROM jobs j
               WHERE j.run_id = CAST(:run_id AS uuid) AND j.queue = r.queue AND j.key = r.key LIMIT 1) IS NULL
        ON CONFLICT (run_id, queue, key) DO NOTHING
        RETURNING id"""),
        {"jobs": to_json(jobs), "run_id": run_id, "supplier_id": supplier_id, "direct": direct},
    )
    return list(rows)


async def claim(db: AsyncConnection, ids: Sequence[str], *, queue: str) -> tuple[list[ClaimedJob], list[Unclaimed]]:
    """Claim what may be claimed among `ids`, in one statement, and say of the rest what to do with it.

    A claim of a job that is already `active` means that its last worker lost its lease, which counts as a death. From
    the third one in a row on, such a job waits up to three seconds first.
    """
    rows = await db.execute(
        text("""
        WITH mine AS (
            SELECT found.* FROM (SELECT id FROM unnest(CAST(:ids AS text[])) AS t(id) ORDER BY id COLLATE "C") asked
            CROSS JOIN LATERAL (
                SELECT j.id, CAST(j.state = 'active' AS int) AS died,
                    j.state = 'active' AND j.deaths + 1 >= :suspect AND j.deaths + 1 < :most AS suspect
                FROM jobs j JOIN runs r ON r.id = j.run_id JOIN queues q ON q.name = j.queue
                WHERE j.id = asked.id AND j.queue = :queue AND NOT j.direct
                  AND j.state IN ('waiting', 'delayed', 'active') AND j.run_at <= clock_timestamp()
                  AND r.status <> 'cancelling' AND NOT q.paused
                FOR UPDATE OF j SKIP LOCKED) found)
        UPDATE jobs j SET state = CASE WHEN suspect THEN 'delayed' ELSE 'active' END,
            claim = CASE WHEN suspect THEN NULL ELSE CAST(:claim AS uuid) END, finished_at = NULL,
            started_at = clock_timestamp(), deaths = j.deaths + mine.died,
            run_at = CASE WHEN suspect THEN clock_timestamp() + random() * make_interval(secs => :spread_s)
                          ELSE j.run_at END
        FROM mine, runs r WHERE j.id = mine.id AND r.id = j.run_id
        RETURNING j.id, j.queue, j.run_id, j.supplier_id, j.parent_id, j.args, j.direct, j.attempts, j.deaths, j.claim,
            r.options"""),
        {
            "ids": list(ids),
            "queue": queue,
            "claim": uuid4(),
            "suspect": SUSPECT_DEATHS,
            "most": MAX_DEATHS,
            "spread_s": SPREAD_S,
        },
    )
    claimed = [_claimed(row) for row in rows.mappings() if row["claim"] is not None]
    missing = set(ids) - {job.id for job in claimed}
    return claimed, await _unclaimed(db, missing) if missing else []


async def claim_of_run(db: AsyncConnection, run_id: str, queue: str, limit: int) -> list[ClaimedJob]:
    """Claim up to `limit` due jobs of a direct run, which no queue knows of."""
    rows = await db.execute(
        text("""
        UPDATE jobs j SET state = 'active', claim = :claim, started_at = clock_timestamp()
        FROM runs r WHERE r.id = j.run_id AND r.status <> 'cancelling' AND j.id IN (
            SELECT id FROM jobs WHERE run_id = CAST(:run_id AS uuid) AND queue = :queue
              AND state IN ('waiting', 'delayed') AND run_at <= clock_timestamp()
            ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
        RETURNING j.id, j.queue, j.run_id, j.supplier_id, j.parent_id, j.args, j.direct, j.attempts, j.deaths, j.claim,
            r.options"""),
        {"run_id": run_id, "queue": queue, "limit": limit, "claim": uuid4()},
    )
    return [_claimed(row) for row in rows.mappings()]


async def _unclaimed(db: AsyncConnection, ids: set[str]) -> list[Unclaimed]:
    rows = await db.execute(
        text("""
        SELECT j.id, j.state IN ('completed', 'failed', 'cancelled') OR r.status = 'cancelling' OR j.direct AS closed,
            CAST(GREATEST(1000, CEIL(EXTRACT(epoch FROM j.run_at - clock_timestamp()) * 1000)) AS bigint) AS wait_ms,
            q.paused
        FROM unnest(CAST(:ids AS text[])) AS asked(id)
        CROSS JOIN LATERAL (SELECT * FROM jobs WHERE id = asked.id LIMIT 1) j
        JOIN runs r ON r.id = j.run_id JOIN queues q ON q.name = j.queue"""),
        {"ids": list(ids)},
    )
    known = {row.id: Unclaimed(row.id, row.closed, row.wait_ms, row.paused) for row in rows}
    return [known.get(job_id, Unclaimed(job_id, closed=True, wait_ms=0, unknown=True)) for job_id in ids]


async def fence(db: AsyncConnection, job: ClaimedJob) -> None:
    """Lock the job's row and hold it to the end of the transaction, without closing the job.

    Raises:
        ClaimLost: the claim does not hold any more; roll back.
    """
    held = await db.scalar(
        text("SELECT 1 FROM jobs WHERE id = :id AND claim = :claim AND state = 'active' FOR UPDATE"),
        {"id": job.id, "claim": job.claim},
    )
    if held is None:
        raise ClaimLost(f"job {job.id} is not this worker's any more")


async def checkpoint(db: AsyncConnection, job: ClaimedJob) -> None:
    """The fence of a commit in the middle of a job: progress was made, so earlier deaths are forgiven.

    Raises:
        ClaimLost: the claim does not hold any more; roll back.
    """
    held = await db.scalar(
        text("UPDATE jobs SET deaths = 0 WHERE id = :id AND claim = :claim AND state = 'active' RETURNING 1"),
        {"id": job.id, "claim": job.claim},
    )
    if held is None:
        raise ClaimLost(f"job {job.id} is not this worker's any more")


async def complete(db: AsyncConnection, results: Sequence[tuple[ClaimedJob, dict[str, Any]]]) -> set[str]:
    """The fence of a commit that ends jobs: close those whose claim holds, and return their ids.

    What does not come back writes nothing: leave its rows out of the batch, or roll a single job back. An image job
    that was superseded gives its key back: its picture may be named again in the same run.
    """
    rows = await db.scalars(
        text("""
        WITH ended AS (
            SELECT j.id, r.result FROM (
                SELECT * FROM jsonb_to_recordset(CAST(:ended AS jsonb)) AS t(id text, claim uuid, result jsonb)
                ORDER BY id COLLATE "C") r
            CROSS JOIN LATERAL (
                SELECT id FROM jobs WHERE id = r.id AND claim = r.claim AND state = 'active' FOR UPDATE) j)
        UPDATE jobs j SET state = 'completed', claim = NULL, finished_at = clock_timestamp(), result = ended.result,
            key = CASE WHEN j.queue = 'image-upload' AND jsonb_exists(ended.result, 'superseded')
                       THEN j.key || '@' || j.id ELSE j.key END,
            progress = CASE WHEN j.queue = 'image-upload' THEN NULL
                            ELSE jsonb_build_object('step', 'completed', 'percentage', 100) END
        FROM ended WHERE j.id = ended.id RETURNING j.id"""),
        {"ended": to_json([{"id": job.id, "claim": str(job.claim), "result": result} for job, result in results])},
    )
    return set(rows)


async def complete_one(db: AsyncConnection, job: ClaimedJob, result: dict[str, Any]) -> None:
    """Close one job as completed.

    Raises:
        ClaimLost: the claim does not hold any more; roll back.
    """
    if not await complete(db, [(job, result)]):
        raise ClaimLost(f"job {job.id} is not this worker's any more")


async def set_result(db: AsyncConnection, job_id: str, result: dict[str, Any]) -> None:
    """Replace the result of a job that this transaction completed, once its numbers are known."""
    await db.execute(
        text("UPDATE jobs SET result = CAST(:result AS jsonb) WHERE id = :id"),
        {"id": job_id, "result": to_json(result)},
    )


async def fail(db: AsyncConnection, job: ClaimedJob, error: str) -> bool:
    """Close a job as failed; False when the claim does not hold any more."""
    return await _spend(db, job, error, "failed", 0)


async def delay(db: AsyncConnection, job: ClaimedJob, error: str, wait_s: float) -> bool:
    """Spend an attempt and try again in `wait_s` seconds; False when the claim does not hold any more."""
    return await _spend(db, job, error, "delayed", wait_s)


async def _spend(db: AsyncConnection, job: ClaimedJob, error: str, state: str, wait_s: float) -> bool:
    row = await db.scalar(
        text("""
        UPDATE jobs SET state = :state, claim = NULL, attempts = attempts + 1, error = :error,
            errors = errors || jsonb_build_array(jsonb_build_object(
                'attempt', attempts + 1, 'error', CAST(:error AS text), 'at', clock_timestamp())),
            run_at = clock_timestamp() + make_interval(secs => :wait_s),
            finished_at = CASE WHEN :state = 'failed' THEN clock_timestamp() END, dispatched_at = clock_timestamp()
        WHERE id = :id AND claim = :claim AND state = 'active' RETURNING 1"""),
        {"id": job.id, "claim": job.claim, "state": state, "error": bounded(error), "wait_s": wait_s},
    )
    return row is not None


async def hand_back(db: AsyncConnection, jobs: Sequence[ClaimedJob], wait_s: float = 0) -> list[str]:
    """Give claimed jobs back unspent, due in `wait_s` seconds; return the ids of those whose claim still held."""
    rows = await db.scalars(
        text("""
        WITH mine AS (
            SELECT j.id FROM (
                SELECT * FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS t(id text, claim uuid)
                ORDER BY id COLLATE "C") r
            CROSS JOIN LATERAL (
                SELECT id FROM jobs WHERE id = r.id AND claim = r.claim AND state = 'active' FOR UPDATE) j)
        UPDATE jobs j SET state = 'delayed', claim = NULL, run_at = clock_timestamp() + make_interval(secs => :wait_s),
            dispatched_at = clock_timestamp()
        FROM mine WHERE j.id = mine.id RETURNING j.id"""),
        {"jobs": to_json([{"id": job.id, "claim": str(job.claim)} for job in jobs]), "wait_s": wait_s},
    )
    return list(rows)


async def end_cancelled(db: AsyncConnection, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Close open jobs of runs that are being cancelled; returns run id to queue to how many there were."""
    rows = await db.execute(
        text("""
        WITH ended AS (
            SELECT j.id FROM (SELECT id FROM unnest(CAST(:ids AS text[])) AS t(id) ORDER BY id COLLATE "C") asked
            CROSS JOIN LATERAL (
                SELECT j.id FROM jobs j JOIN runs r ON r.id = j.run_id
                WHERE j.id = asked.id AND r.status = 'cancelling' AND j.state IN ('waiting', 'delayed', 'active')
                FOR UPDATE OF j) j)
        UPDATE jobs j SET state = 'cancelled', claim = NULL, finished_at = clock_timestamp()
        FROM ended WHERE j.id = ended.id RETURNING j.run_id, j.queue"""),
        {"ids": list(ids)},
    )
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        queues = counts.setdefault(str(row.run_id), {})
        queues[row.queue] = queues.get(row.queue, 0) + 1
    return counts


async def lost(db: AsyncConnection, jobs: Sequence[ClaimedJob]) -> set[str]:
    """The ids of those jobs whose claim does not hold any more: cancelled, or claimed by another worker."""
    held = await db.scalars(
        text("""
        SELECT j.id FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS r(id text, claim uuid)
        CROSS JOIN LATERAL (
            SELECT id FROM jobs WHERE id = r.id AND claim = r.claim AND state = 'active' LIMIT 1) j"""),
        {"jobs": to_json([{"id": job.id, "claim": str(job.claim)} for job in jobs])},
    )
    return {job.id for job in jobs} - set(held)


async def closed_among(db: AsyncConnection, ids: Sequence[str]) -> set[str]:
    """Which of these jobs are over, or gone."""
    still = await db.scalars(
        text("""
        SELECT j.id FROM unnest(CAST(:ids AS text[])) AS asked(id)
        CROSS JOIN LATERAL (
            SELECT id FROM jobs WHERE id = asked.id AND state IN ('waiting', 'active', 'delayed') LIMIT 1) j"""),
        {"ids": list(ids)},
    )
    return set(ids) - set(still)


async def write_progress(db: AsyncConnection, steps: Sequence[tuple[ClaimedJob, str, int]]) -> None:
    """Write how far running jobs are; a percentage never goes back. A job that is just being committed is left out."""
    await db.execute(
        text("""
        WITH mine AS (
            SELECT j.id, r.step, r.percentage FROM (
                SELECT * FROM jsonb_to_recordset(CAST(:steps AS jsonb))
                    AS t(id text, claim uuid, step text, percentage int)
                ORDER BY id COLLATE "C") r
            CROSS JOIN LATERAL (
                SELECT id FROM jobs WHERE id = r.id AND claim = r.claim AND state = 'active'
                  AND COALESCE(CAST(progress ->> 'percentage' AS int), 0) < r.percentage
                FOR UPDATE SKIP LOCKED) j)
        UPDATE jobs j SET progress = jsonb_build_object('step', mine.step, 'percentage', mine.percentage)
        FROM mine WHERE j.id = mine.id"""),
        {
            "steps": to_json(
                [
                    {"id": job.id, "claim": str(job.claim), "step": step, "percentage": percentage}
                    for job, step, percentage in steps
                ]
            )
        },
    )


async def supplier_job_is_over(db: AsyncConnection, run_id: str) -> bool:
    """Whether the run's supplier job is closed; holds its row, so its last commit is before or after this one."""
    state = await db.scalar(
        text("""
        SELECT j.state FROM jobs j JOIN runs r ON r.supplier_job_id = j.id
        WHERE r.id = CAST(:run_id AS uuid) FOR SHARE OF j"""),
        {"run_id": run_id},
    )
    return state in {"completed", "failed", "cancelled", None}


async def is_paused(db: AsyncConnection, queue: str) -> bool:
    """Whether an operator paused the queue."""
    return bool(await db.scalar(text("SELECT paused FROM queues WHERE name = :queue"), {"queue": queue}))


async def set_paused(db: AsyncConnection, queue: str, *, paused: bool) -> None:
    """Pause or resume a queue for all workers; it survives restarts."""
    await db.execute(text("UPDATE queues SET paused = :paused WHERE name = :queue"), {"queue": queue, "paused": paused})


def bounded(error: str) -> str:
    """An error's text cut to what the ledger keeps, with a word on how much was cut."""
    clean = error.encode("utf-8", "replace").decode().replace("\x00", "�") or "failed without a message"
    if len(clean) <= ERROR_MAX_CHARS:
        return clean
    return f"{clean[:ERROR_MAX_CHARS]}… ({len(clean) - ERROR_MAX_CHARS} more characters)"


def to_json(value: object) -> str:
    """JSON text for a `CAST(:x AS jsonb)` parameter: one parameter, however many rows."""
    return msgspec.json.encode(value).decode()


def _claimed(row: Any) -> ClaimedJob:
    return ClaimedJob(**{**row, "run_id": str(row["run_id"])})
