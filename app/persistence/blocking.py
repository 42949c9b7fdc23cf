"""Saying who keeps a migration waiting where no time-out ends the wait.

    attempt:  BEGIN, change, COMMIT        waits for a table for LOCK_TIMEOUT, is tried again, says so (migrating.py)
              CREATE INDEX CONCURRENTLY    waits for transactions that are older than it, for as long as they take
    beside:   every SAY_EVERY_S ─▶ does a session of this migration wait for a lock? for whom? ─▶ a line

The question goes over a connection of its own, in no transaction, open for that moment. The one that holds the
migrations' lock is not asked: its transaction is open throughout, and with the snapshot of a question in it an index
would wait for us, and we for the index.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog import get_logger

from app.outages import end_if_cancelled
from app.persistence.failures import TOO_MANY_CONNECTIONS, sqlstate, undressed
from app.persistence.sessions import MIGRATES

log = get_logger()

SAY_EVERY_S = 15.0
ANSWER_WITHIN_S = 10.0
MOST_NAMED = 3
WHO_BLOCKS = text("""
SELECT blocking.pid, a.usename AS role, a.state,
       coalesce(nullif(a.application_name, ''), nullif(a.backend_type, 'client backend')) AS name,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float AS transaction_s,
       extract(epoch FROM clock_timestamp() - awaited.waitstart)::float AS waited_s
FROM pg_stat_activity me
JOIN pg_stat_activity ours ON ours.application_name = me.application_name AND ours.datname = me.datname
JOIN pg_locks awaited ON awaited.pid = ours.pid AND NOT awaited.granted
CROSS JOIN LATERAL (SELECT DISTINCT pid FROM unnest(pg_blocking_pids(ours.pid)) AS pid) AS blocking
LEFT JOIN pg_stat_activity a ON a.pid = blocking.pid
WHERE me.pid = pg_backend_pid() AND me.application_name LIKE '%' || :migrates
ORDER BY a.xact_start NULLS LAST, blocking.pid
""").bindparams(migrates=MIGRATES)
"""By its name, since behind a transaction pooler nobody knows the process that a statement runs in. Where a pooler does
not hand the name on, nobody is found. Who is no superuser sees pid, name and role of another role's session."""


@asynccontextmanager
async def saying_who_blocks(engine: AsyncEngine) -> AsyncIterator[None]:
    """While the block runs a migration, say every `SAY_EVERY_S` seconds which sessions keep it waiting, if any do.

    Args:
        engine: of migrations, so that the question comes under the name of those that it is about.
    """
    watching = asyncio.create_task(_watch(engine))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def _watch(engine: AsyncEngine) -> None:
    """Ask again and again; that nobody can be asked is said once, and is no reason for the migration to end."""
    was_refused = False
    while True:
        await asyncio.sleep(SAY_EVERY_S)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                blocking = await _who_blocks(engine)
        except Exception as error:  # noqa: BLE001  whatever it is, the migration goes on
            end_if_cancelled(error)
            if not was_refused:
                log.warning("the migration goes on; whether it waits for somebody cannot be asked", error=_why(error))
            was_refused = True
            continue
        if blocking:
            seconds = round(blocking[0].waited_s or 0)
            log.warning("the migration waits", waits_for=_name(blocking), seconds=seconds, do=_advise(blocking))


async def _who_blocks(engine: AsyncEngine) -> Sequence[Row[Any]]:
    """The sessions that this migration waits for, the one with the oldest transaction first."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        return (await connection.execute(WHO_BLOCKS)).all()


def _name(blocking: Sequence[Row[Any]]) -> str:
    named = [_describe(row) for row in blocking[:MOST_NAMED]]
    more = len(blocking) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")


def _describe(row: Row[Any]) -> str:
    if not row.pid:
        return "a prepared transaction"
    known = [row.name, row.role and f"role {row.role}", row.state]
    who = ", ".join(part for part in known if part)
    since = f", whose transaction began {row.transaction_s:.0f} s ago" if row.transaction_s is not None else ""
    return f"session {row.pid} ({who}){since}" if who else f"session {row.pid}{since}"


def _advise(blocking: Sequence[Row[Any]]) -> str:
    first = blocking[0].pid
    if not first:
        return "COMMIT PREPARED or ROLLBACK PREPARED what pg_prepared_xacts lists"
    return f"let its transaction end, or SELECT pg_terminate_backend({first})"


def _why(error: Exception) -> str:
    if sqlstate(error) == TOO_MANY_CONNECTIONS:
        return "the server is at its limit of connections"
    return type(undressed(error)).__name__
