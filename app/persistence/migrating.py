"""How the schema is changed: alone, one migration a transaction, and without standing in anybody's way.

    take the migrations' lock ─▶ for each migration: BEGIN, change, note the revision, COMMIT ─▶ done
        │ another has it            │ a table is in use for longer than LOCK_TIMEOUT
        └──── pause, again ◀────────┘ ROLLBACK, and those who queued behind us go on

A change of a table waits for whoever uses it, and everybody who comes later waits behind the change. So it waits for a
short time only, gives up its place, and tries again, for as long as it takes. Nothing else has a time-out: where
something else takes long, blocking.py says whom it waits for. The migrations' lock lives in a transaction of its own on
a second connection: so it holds behind a transaction pooler too, and while a migration is between transactions
(`CREATE INDEX CONCURRENTLY` runs in none).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog import get_logger

from app.persistence.blocking import SAY_EVERY_S, saying_who_blocks
from app.persistence.database import Database
from app.persistence.failures import TOO_MANY_CONNECTIONS, sqlstate

log = get_logger()

MIGRATION_LOCK = 0x70726F6D
TURN_S = 0.5
MOST_PAUSE_S = 5.0
GIVE_WAY = frozenset({"55P03", "40P01"})
"""Lock not available, deadlock."""
TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)").bindparams(key=MIGRATION_LOCK)
HOLDER = text("""
SELECT l.pid, a.application_name AS name, c.relname, extract(epoch FROM clock_timestamp() - a.xact_start)::float AS s
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted
ORDER BY a.xact_start NULLS LAST LIMIT 1
""")

Attempt = Callable[[Connection], None]


async def run_alone(database: Database, attempt: Attempt) -> None:
    """Run `attempt`, which brings the schema to where it should be, until it has got all its locks.

    What it has committed stays when it is begun anew. Says at once, and then now and then, what it waits for.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    began, said, pause_s = time.monotonic(), float("-inf"), TURN_S
    async with database.unlimited() as engine:
        while (reason := await _try(engine, attempt)) is not None:
            now = time.monotonic()
            if now - said > SAY_EVERY_S:
                log.warning("the migration waits", waits_for=reason, seconds=round(now - began))
                said = now
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311  spreads tries, no secret
            pause_s = min(MOST_PAUSE_S, pause_s * 1.5)


async def _try(engine: AsyncEngine, attempt: Attempt) -> str | None:
    """None when `attempt` got through, else what it has to wait for."""
    try:
        async with engine.connect() as guard, guard.begin():
            return await _try_guarded(engine, guard, attempt)
    except Exception as error:
        if sqlstate(error) != TOO_MANY_CONNECTIONS:
            raise
        return "a connection: the server is at its limit"


async def _try_guarded(engine: AsyncEngine, guard: AsyncConnection, attempt: Attempt) -> str | None:
    if not await guard.scalar(TRY_LOCK):
        return "another migration"
    await _let_go_of_what_was_seen(guard)
    try:
        async with engine.connect() as connection, saying_who_blocks(engine):
            await connection.run_sync(attempt)
    except DBAPIError as error:
        if sqlstate(error) not in GIVE_WAY:
            raise
        return await _holder(guard)
    return None


async def _let_go_of_what_was_seen(guard: AsyncConnection) -> None:
    """A statement in the simple protocol ends the unnamed portal of the one before, and with it a snapshot.

    It would hold up VACUUM for as long as a migration takes, and `CREATE INDEX CONCURRENTLY` for ever.
    """
    session = (await guard.get_raw_connection()).driver_connection
    assert session is not None
    await session.execute("SELECT 1")


async def _holder(guard: AsyncConnection) -> str:
    """The session whose transaction has used a table of ours for the longest."""
    row = (await guard.execute(HOLDER)).one_or_none()
    if row is None:
        return "a lock"
    name = f" ({row.name})" if row.name else ""
    since = f" for {row.s:.0f} s" if row.s is not None else ""
    return f"table {row.relname}, which session {row.pid}{name} has used{since}"
