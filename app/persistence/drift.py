"""What `promidata-sync doctor` asks the ledger and the catalogue: what waits, what stands still, what is not numbered.

Each is one statement, so what it says is of one moment.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.media import MediaRow
from app.persistence.states import OPEN_JOB, RUN_UNDER_WAY


class QueueLoad(msgspec.Struct, frozen=True):
    """How much a queue has to do; jobs of direct runs are not among it."""

    name: str
    paused: bool
    due: int
    """Open jobs that may run now, or are running."""


class StillRun(msgspec.Struct, frozen=True):
    """A run that is under way and in which nothing has moved for long."""

    id: str
    supplier: str
    still_s: float
    """Seconds since a job of it was made, started or ended, or a document of its supplier was fetched."""
    queues: tuple[str, ...]
    """Where it has open jobs."""


class Unnumbered(msgspec.Struct, frozen=True):
    """Changes that followers cannot see yet."""

    number: int
    oldest_s: float
    """Seconds since the oldest was written."""


async def queue_loads(db: AsyncConnection) -> list[QueueLoad]:
    """What each queue has to do."""
    rows = await db.execute(
        text(f"""
        SELECT q.name, q.paused, count(j.id) AS due FROM queues q
        LEFT JOIN jobs j ON j.queue = q.name AND NOT j.direct AND j.state IN {OPEN_JOB}
            AND j.run_at <= clock_timestamp()
        GROUP BY q.name, q.paused""")
    )
    return [QueueLoad(**row) for row in rows.mappings()]


async def still_runs(db: AsyncConnection, still_s: float) -> list[StillRun]:
    """Runs under way in which nothing moved for `still_s` seconds.

    Not among them are runs that wait for their turn while another supplier is being synced.
    """
    rows = await db.execute(
        text(f"""
        WITH moved AS (
            SELECT r.id, r.supplier_id, r.status, GREATEST(r.created_at, r.started_at, max(j.created_at),
                max(j.started_at), max(j.finished_at), max(j.run_at),
                (SELECT max(d.fetched_at) FROM documents d WHERE d.supplier_id = r.supplier_id)) AS at,
                array_agg(DISTINCT j.queue) FILTER (WHERE j.state IN {OPEN_JOB}) AS queues
            FROM runs r LEFT JOIN jobs j ON j.run_id = r.id
            WHERE r.status IN {RUN_UNDER_WAY} GROUP BY r.id)
        SELECT CAST(m.id AS text) AS id, s.code AS supplier, COALESCE(m.queues, '{{}}') AS queues,
            CAST(EXTRACT(epoch FROM clock_timestamp() - m.at) AS double precision) AS still_s
        FROM moved m JOIN suppliers s ON s.id = m.supplier_id
        WHERE m.at < clock_timestamp() - make_interval(secs => :still_s)
          AND NOT (m.status = 'queued' AND EXISTS (
              SELECT FROM moved o WHERE o.status = 'running'
                AND o.at >= clock_timestamp() - make_interval(secs => :still_s)))
        ORDER BY m.at"""),
        {"still_s": still_s},
    )
    return [StillRun(row.id, row.supplier, row.still_s, tuple(row.queues)) for row in rows]


async def runs_under_way(db: AsyncConnection) -> int:
    """How many runs are not over."""
    number = await db.scalar(text(f"SELECT count(*) FROM runs WHERE status IN {RUN_UNDER_WAY}"))
    return int(number or 0)


async def still_open(db: AsyncConnection, ids: Sequence[str], quiet_s: float) -> set[str]:
    """Which of these jobs are open, or were `quiet_s` seconds ago."""
    found = await db.scalars(
        text(f"""
        SELECT id FROM jobs WHERE id = ANY(CAST(:ids AS text[])) AND (state IN {OPEN_JOB}
            OR finished_at > clock_timestamp() - make_interval(secs => :quiet_s))"""),
        {"ids": list(ids), "quiet_s": quiet_s},
    )
    return set(found)


async def unnumbered_changes(db: AsyncConnection) -> Unnumbered:
    """What the sequencer has not come to yet."""
    row = (
        await db.execute(
            text("""
            SELECT count(*) AS number,
                CAST(COALESCE(EXTRACT(epoch FROM clock_timestamp() - min(at)), 0) AS double precision) AS oldest_s
            FROM changes WHERE seq IS NULL""")
        )
    ).one()
    return Unnumbered(row.number, row.oldest_s)


async def sample_media(db: AsyncConnection, number: int) -> list[MediaRow]:
    """Up to `number` recorded objects from all over the table; by its index, however large it is."""
    rows = await db.execute(
        text("""
        WITH bounds AS (SELECT min(id) AS low, max(id) AS high FROM media),
        tries AS (
            SELECT low + floor(random() * (high - low + 1)) AS at FROM bounds, generate_series(1, :number))
        SELECT DISTINCT m.id, m.key, m.size_bytes FROM tries t
        CROSS JOIN LATERAL (SELECT id, key, size_bytes FROM media WHERE id >= t.at ORDER BY id LIMIT 1) m
        ORDER BY m.id"""),
        {"number": number},
    )
    return [MediaRow(**row) for row in rows.mappings()]


async def server_version(db: AsyncConnection) -> str:
    """The version that the server states of itself, such as `18.1`."""
    return str(await db.scalar(text("SELECT split_part(current_setting('server_version'), ' ', 1)")))


async def server_encoding(db: AsyncConnection) -> str:
    """The encoding of the database, such as `UTF8`."""
    return str(await db.scalar(text("SHOW server_encoding")))
