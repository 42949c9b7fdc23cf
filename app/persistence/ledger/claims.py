"""Claims: who may work on a job, and whether that still holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger.ends import LAST_ERROR, bounded
from app.persistence.ledger.rows import ClaimedJob, RunOptions, Unclaimed, to_json
from app.persistence.statements import ask, column
from app.persistence.states import CLOSED_JOB, OPEN_JOB, WAITING_JOB

MAX_DEATHS = 10
"""Workers lost in a row without progress, after which a job is taken to be what kills them (ENGINE.md 1)."""


SUSPECT_DEATHS = 3
"""From here on a job does not start together with those that it died with: one of them may be the killer."""


SPREAD_S = 3.0
"""The starts of such jobs are spread over so many seconds, so that the innocent ones end without the killer."""


WAITED = """CAST(EXTRACT(epoch FROM clock_timestamp() - GREATEST(j.run_at, j.created_at)) AS double precision)
                AS waited_s"""
CLAIMED = f"""j.id, j.queue, j.run_id, j.supplier_id, j.parent_id, j.args, j.direct, j.attempts, j.deaths, j.claim,
            j.traceparent, options, {WAITED},
            (SELECT s.code FROM suppliers s WHERE s.id = j.supplier_id) AS supplier"""
"""What `ClaimedJob` has, of a job `j` and the `options` of its run."""


MANY = 'SELECT id FROM unnest(CAST(:ids AS text[])) AS t(id) ORDER BY id COLLATE "C"'
ONE = "SELECT CAST(:ids AS text) AS id"
"""What is asked for. An idle worker claims one job at a time: a plan for one is the same for each, so PostgreSQL keeps
it, while an array is planned anew each time, for as many as it has: 0.7 and 1.6 ms. Should the plan be one of a small
table, which jobs are at the very first, a busy worker's claims are of many and have their own."""


async def claim(db: AsyncConnection, ids: Sequence[str], *, queue: str) -> tuple[list[ClaimedJob], list[Unclaimed]]:
    """Claim what may be claimed among `ids`, in one statement, and say of the rest what to do with it.

    A claim of a job that is already `active` means that its last worker lost its lease, which counts as a death. From
    the third one in a row on, such a job waits up to three seconds first.
    """
    alone = len(ids) == 1
    rows = await ask(
        db,
        CLAIM_ONE if alone else CLAIM_MANY,
        {
            "ids": ids[0] if alone else list(ids),
            "queue": queue,
            "claim": uuid4(),
            "suspect": SUSPECT_DEATHS,
            "most": MAX_DEATHS,
            "spread_s": SPREAD_S,
        },
    )
    claimed = [_claimed(row) for row in rows if row.claim is not None]
    missing = set(ids) - {job.id for job in claimed}
    return claimed, await _unclaimed(db, missing) if missing else []


def _claim_of(asked: str, updated: str) -> str:
    return f"""
        WITH mine AS (
            SELECT found.* FROM ({asked}) asked
            CROSS JOIN LATERAL (
                SELECT j.id, r.options, CAST(j.state = 'active' AS int) AS died,
                    j.state = 'active' AND j.deaths + 1 >= :suspect AND j.deaths + 1 < :most AS suspect
                FROM jobs j JOIN runs r ON r.id = j.run_id JOIN queues q ON q.name = j.queue
                WHERE j.id = asked.id AND j.queue = :queue AND NOT j.direct
                  AND j.state IN {OPEN_JOB} AND j.run_at <= clock_timestamp()
                  AND r.status <> 'cancelling' AND NOT q.paused
                FOR UPDATE OF j SKIP LOCKED) found)
        UPDATE jobs j SET state = CASE WHEN suspect THEN 'delayed' ELSE 'active' END,
            claim = CASE WHEN suspect THEN NULL ELSE CAST(:claim AS uuid) END, finished_at = NULL,
            started_at = clock_timestamp(), deaths = j.deaths + mine.died,
            run_at = CASE WHEN suspect THEN clock_timestamp() + random() * make_interval(secs => :spread_s)
                          ELSE j.run_at END,
            error = {LAST_ERROR}
        FROM mine WHERE {updated}
        RETURNING {CLAIMED}"""


CLAIM_ONE = _claim_of(ONE, "j.id = mine.id")
CLAIM_MANY = _claim_of(MANY, "j.id = mine.id AND j.id = ANY(ARRAY(SELECT id FROM mine))")
"""In both each job's run is looked at once; of many, the ids as an array are looked for in the index, however many."""


async def claim_of_run(
    db: AsyncConnection, run_id: str, queue: str, limit: int, in_hand: Sequence[str] = ()
) -> list[ClaimedJob]:
    """Claim up to `limit` due jobs of a direct run, which no queue knows of.

    One process works a direct run off. So what is active and not `in_hand` there is a claim of its own whose answer was
    lost, and is claimed again.

    The ids are an array, which is made once: the rows of `IN (SELECT … LIMIT … SKIP LOCKED)` may be looked for anew for
    each job of the table, and each time others are the first that are not locked.
    """
    rows = await ask(
        db,
        f"""
        UPDATE jobs j SET state = 'active', claim = :claim, started_at = clock_timestamp(), error = {LAST_ERROR}
        FROM runs r WHERE r.id = j.run_id AND r.status <> 'cancelling' AND j.id = ANY(ARRAY(
            SELECT id FROM jobs WHERE run_id = CAST(:run_id AS uuid) AND queue = :queue
              AND (state IN {WAITING_JOB} AND run_at <= clock_timestamp()
                   OR state = 'active' AND id <> ALL(CAST(:in_hand AS text[])))
            ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED))
        RETURNING {CLAIMED}""",
        {"run_id": run_id, "queue": queue, "limit": limit, "claim": uuid4(), "in_hand": list(in_hand)},
    )
    return [_claimed(row) for row in rows]


async def active_unheld(db: AsyncConnection, run_id: str, in_hand: Sequence[str]) -> list[str]:
    """The active jobs of a direct run that its process does not have in hand."""
    return await column(
        db,
        """
        SELECT id FROM jobs WHERE run_id = CAST(:run_id AS uuid) AND state = 'active'
          AND id <> ALL(CAST(:in_hand AS text[])) ORDER BY id""",
        {"run_id": run_id, "in_hand": list(in_hand)},
    )


async def _unclaimed(db: AsyncConnection, ids: set[str]) -> list[Unclaimed]:
    rows = await ask(
        db,
        f"""
        SELECT j.id, j.state IN {CLOSED_JOB} OR r.status = 'cancelling' OR j.direct AS closed,
            CAST(GREATEST(1000, CEIL(EXTRACT(epoch FROM j.run_at - clock_timestamp()) * 1000)) AS bigint) AS wait_ms,
            q.paused
        FROM unnest(CAST(:ids AS text[])) AS asked(id)
        CROSS JOIN LATERAL (SELECT * FROM jobs WHERE id = asked.id LIMIT 1) j
        JOIN runs r ON r.id = j.run_id JOIN queues q ON q.name = j.queue""",
        {"ids": list(ids)},
    )
    known = {row.id: Unclaimed(row.id, row.closed, row.wait_ms, row.paused) for row in rows}
    return [known.get(job_id, Unclaimed(job_id, closed=True, wait_ms=0, unknown=True)) for job_id in ids]


MINE = """
        WITH mine AS (
            SELECT j.id FROM (
                SELECT * FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS t(id text, claim uuid)
                ORDER BY id COLLATE "C") r
            CROSS JOIN LATERAL (
                SELECT id FROM jobs WHERE id = r.id AND claim = r.claim AND state = 'active' FOR UPDATE) j)"""
"""Those jobs whose claim holds, locked."""


async def hand_back(
    db: AsyncConnection, jobs: Sequence[ClaimedJob], why: str | None = None, wait_s: float = 0.0
) -> list[str]:
    """Give claimed jobs back unspent; return those whose claim still held.

    They wait as before, or for `wait_s`, and say `why`.
    """
    return await column(
        db,
        f"""{MINE}
        UPDATE jobs j SET claim = NULL,
            state = CASE WHEN CAST(:wait_s AS double precision) > 0 THEN 'delayed' ELSE 'waiting' END,
            run_at = clock_timestamp() + make_interval(secs => CAST(:wait_s AS double precision)),
            dispatched_at = clock_timestamp(), started_at = CASE WHEN attempts > 0 THEN started_at END,
            error = COALESCE(CAST(:why AS text), j.error)
        FROM mine WHERE j.id = mine.id RETURNING j.id""",
        {"jobs": _by_claim(jobs), "wait_s": wait_s, "why": None if why is None else bounded(why)},
    )


async def note_wait(db: AsyncConnection, jobs: Sequence[ClaimedJob], why: str) -> None:
    """Say of claimed jobs what they wait for."""
    await column(
        db,
        f"""{MINE}
        UPDATE jobs j SET error = CAST(:why AS text) FROM mine
        WHERE j.id = mine.id AND j.error IS DISTINCT FROM CAST(:why AS text) RETURNING j.id""",
        {"jobs": _by_claim(jobs), "why": bounded(why)},
    )


async def lost(db: AsyncConnection, jobs: Sequence[ClaimedJob]) -> set[str]:
    """The ids of those jobs whose claim does not hold any more: cancelled, or claimed by another worker.

    Not of those that have ended: what ended one may have its messages to send still, and the fence stops another one.
    """
    held = await column(
        db,
        """
        SELECT j.id FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS r(id text, claim uuid)
        CROSS JOIN LATERAL (
            SELECT id FROM jobs WHERE id = r.id
              AND (claim = r.claim AND state = 'active' OR state IN ('completed', 'failed')) LIMIT 1) j""",
        {"jobs": _by_claim(jobs)},
    )
    return {job.id for job in jobs} - set(held)


async def closed_among(db: AsyncConnection, ids: Sequence[str]) -> set[str]:
    """Which of these jobs are over, or gone."""
    still = await column(
        db,
        f"""
        SELECT j.id FROM unnest(CAST(:ids AS text[])) AS asked(id)
        CROSS JOIN LATERAL (
            SELECT id FROM jobs WHERE id = asked.id AND state IN {OPEN_JOB} LIMIT 1) j""",
        {"ids": list(ids)},
    )
    return set(ids) - set(still)


def _claimed(row: Any) -> ClaimedJob:
    options = msgspec.convert(row["options"], RunOptions)
    return ClaimedJob(**{**row, "run_id": str(row["run_id"]), "options": options})


def _by_claim(jobs: Sequence[ClaimedJob]) -> str:
    return to_json([{"id": job.id, "claim": str(job.claim)} for job in jobs])
