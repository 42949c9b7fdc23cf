"""What each minute came to: written by one process at a time, from counters alone, and read by the dashboard's charts.

    queue_totals, queue_moves ─ what was gained since the last time ─▶ queue_minutes    (a row a queue and minute)
    runs that ended, media that were stored since ──────────────────▶ service_minutes  (a row a minute)

Nothing here counts what is kept: a minute costs the same whether there are ten jobs or a million. What was stored is
known by the numbers of the rows, which a few commits at the same time may have in another order; those are missed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

KEPT_DAYS = 14

IS_DUE = "SELECT EXISTS (SELECT FROM minutes_head WHERE minute < date_trunc('minute', clock_timestamp()))"
HELD = """
SELECT minute, gained, media_id, date_trunc('minute', clock_timestamp()) AS now FROM minutes_head
WHERE minute < date_trunc('minute', clock_timestamp()) FOR UPDATE SKIP LOCKED
"""
QUEUES_NOW = """
WITH counted AS (
    SELECT queue, state, sum(jobs) AS jobs, sum(gained) AS gained FROM (
        SELECT queue, state, jobs, gained FROM queue_totals
        UNION ALL SELECT queue, state, jobs, greatest(jobs, 0) FROM queue_moves) parts
    GROUP BY queue, state)
SELECT q.name AS queue,
    CAST(COALESCE(sum(c.gained) FILTER (WHERE c.state = 'completed'), 0) AS bigint) AS done,
    CAST(COALESCE(sum(c.gained) FILTER (WHERE c.state = 'failed'), 0) AS bigint) AS failed,
    CAST(COALESCE(sum(c.jobs) FILTER (WHERE c.state IN ('waiting', 'delayed')), 0) AS bigint) AS waiting,
    CAST(COALESCE(sum(c.jobs) FILTER (WHERE c.state = 'active'), 0) AS bigint) AS active,
    CAST(COALESCE(extract(epoch FROM clock_timestamp() - least(
        (SELECT min(created_at) FROM jobs WHERE queue = q.name AND state = 'waiting' AND NOT direct),
        (SELECT min(created_at) FROM jobs WHERE queue = q.name AND state = 'delayed' AND NOT direct))), 0)
        AS double precision) AS oldest_s
FROM queues q LEFT JOIN counted c ON c.queue = q.name GROUP BY q.name
"""
SERVICE_NOW = """
SELECT r.runs, r.runs_failed, m.pictures, m.bytes, m.media_id FROM
    (SELECT count(*) AS runs, count(*) FILTER (WHERE status = 'failed') AS runs_failed FROM runs
     WHERE NOT jobs_forgotten AND finished_at IS NOT NULL AND finished_at >= :since AND finished_at < :until) r,
    (SELECT count(*) AS pictures, CAST(COALESCE(sum(size_bytes), 0) AS bigint) AS bytes,
        COALESCE(max(id), CAST(:after AS bigint)) AS media_id FROM media WHERE id > :after) m
"""
"""Runs by the index of those that are not thinned yet, media by their key."""
WRITE_QUEUE = """
INSERT INTO queue_minutes (minute, queue, done, failed, waiting, active, oldest_s)
VALUES (:minute, :queue, :done, :failed, :waiting, :active, :oldest_s) ON CONFLICT DO NOTHING
"""
WRITE_SERVICE = """
INSERT INTO service_minutes (minute, runs, runs_failed, pictures, bytes)
VALUES (:minute, :runs, :runs_failed, :pictures, :bytes) ON CONFLICT DO NOTHING
"""
MOVE_HEAD = "UPDATE minutes_head SET minute = :now, gained = CAST(:gained AS jsonb), media_id = :media_id"


async def is_minute_due(db: AsyncConnection) -> bool:
    """Whether a minute has ended that is not written yet."""
    return bool(await db.scalar(text(IS_DUE)))


async def write_minute(db: AsyncConnection) -> bool:
    """Write the minute that ended last, with all that was gained since the one before; False when another has it.

    After a time in which nobody wrote, one minute has all of it.
    """
    head = (await db.execute(text(HELD))).one_or_none()
    if head is None:
        return False
    queues = [dict(row) for row in (await db.execute(text(QUEUES_NOW))).mappings()]
    window = {"since": head.minute, "until": head.now, "after": head.media_id}
    service = dict((await db.execute(text(SERVICE_NOW), window)).mappings().one())
    media_id = service.pop("media_id")
    gained = {row["queue"]: {"done": row["done"], "failed": row["failed"]} for row in queues}
    place = {"now": head.now}
    minute = await db.scalar(text("SELECT CAST(:now AS timestamptz) - interval '1 min'"), place)
    await db.execute(text(WRITE_QUEUE), [{"minute": minute, **_since(row, head.gained)} for row in queues])
    await db.execute(text(WRITE_SERVICE), {"minute": minute, **service})
    await db.execute(text(MOVE_HEAD), {**place, "gained": msgspec.json.encode(gained).decode(), "media_id": media_id})
    return True


def _since(row: dict[str, Any], before: dict[str, dict[str, int]] | None) -> dict[str, Any]:
    """What a queue gained; after a restore it may be less than before.

    The first time all of it counts: `gained` begins at zero with this table, also where jobs were there before.
    """
    last = (before or {}).get(row["queue"], {"done": 0, "failed": 0})
    return {**row, **{name: max(0, row[name] - last[name]) for name in ("done", "failed")}}


class QueueSpan(msgspec.Struct, frozen=True):
    """What a queue came to from `at` on, for one bar of a chart."""

    queue: str
    at: datetime
    done: int
    failed: int
    waiting: int
    """The most that waited at the end of one of its minutes."""
    oldest_s: float


class ServiceSpan(msgspec.Struct, frozen=True):
    """What all minutes of a span came to."""

    runs: int
    runs_failed: int
    pictures: int
    bytes: int


QUEUE_SPANS = """
SELECT queue, date_bin(make_interval(secs => :bar_s), minute, TIMESTAMPTZ 'epoch') AS at,
    CAST(sum(done) AS bigint) AS done, CAST(sum(failed) AS bigint) AS failed, max(waiting) AS waiting,
    max(oldest_s) AS oldest_s
FROM queue_minutes WHERE minute >= now() - make_interval(secs => :span_s)
GROUP BY 1, 2 ORDER BY 2, 1
"""
"""By `now()`: what `clock_timestamp()` says may change from row to row, so that no index could be asked for it."""
SERVICE_SPAN = """
SELECT CAST(COALESCE(sum(runs), 0) AS bigint) AS runs, CAST(COALESCE(sum(runs_failed), 0) AS bigint) AS runs_failed,
    CAST(COALESCE(sum(pictures), 0) AS bigint) AS pictures, CAST(COALESCE(sum(bytes), 0) AS bigint) AS bytes
FROM service_minutes WHERE minute >= now() - make_interval(secs => :span_s)
"""


async def queue_spans(db: AsyncConnection, *, span_s: int, bar_s: int) -> list[QueueSpan]:
    """The queues' minutes of the last `span_s` seconds, so many seconds together as a bar has; the oldest first."""
    rows = await db.execute(text(QUEUE_SPANS), {"span_s": span_s, "bar_s": bar_s})
    return [QueueSpan(**row) for row in rows.mappings()]


async def service_span(db: AsyncConnection, *, span_s: int) -> ServiceSpan:
    """What the minutes of the last `span_s` seconds came to."""
    return ServiceSpan(**(await db.execute(text(SERVICE_SPAN), {"span_s": span_s})).mappings().one())
