"""Connections to PostgreSQL: pools, transactions, and which failures are an outage.

Two engines on one database:

- `begin` gives a durable transaction; a stage's results, its job's state and the jobs that it leads to go in one.
- `quick` gives single statements in autocommit with `synchronous_commit=off`, for what may be lost without harm: claims
  (a lost claim only makes the job run again, since its token is random), progress, dispatch marks.

Time-outs are set on every connection, so that a frozen worker cannot hold a row (ENGINE.md 1, "Connections").
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

import orjson
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import DatabaseUnavailable
from app.failpoints import name_of, reach
from app.persistence.database_address import DIALECT, read_address

T = TypeVar("T")
Connection = AsyncConnection
"""What a stage or an endpoint hands to repositories; outside of this folder nobody needs to know whose it is."""

SESSION_SETTINGS = {
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "5s",
    "statement_timeout": "30s",
}
STATEMENT_TIMED_OUT = "57014"
"""Also what a server that was frozen says when it wakes up; so it is repeated, but not for ever."""
REPEATABLE = frozenset({"40001", "40P01", "55P03", STATEMENT_TIMED_OUT})
"""Serialization failure, deadlock, lock not available: repeated at once, at no cost to the job."""
MOST_REPEATS = 20
MOST_TIMEOUTS = 2
OUTAGE_CLASSES = ("08", "57P", "53", "25P03")
"""Connection failures, operator intervention, insufficient resources, a transaction that idled while we were frozen."""
READ_ONLY = "25006"
END_STALLED = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name = :name AND state = 'active'
  AND wait_event = 'ClientRead' AND state_change < clock_timestamp() - interval '5 s' AND query NOT ILIKE '%copy%'
"""
"""A session whose client fell silent between the messages of one statement: no time-out of PostgreSQL 16 ends it."""


class RepeatTransaction(Exception):
    """Two transactions wrote the same thing; the loser starts over and sees what the winner wrote."""


class Database:
    """One process's way to PostgreSQL. Build it once, close it at the end."""

    def __init__(
        self, url: str, *, pool_size: int = 10, transaction_pooler: bool = False, pre_ping: bool = False
    ) -> None:
        """Prepare the pools; nothing connects until the first use.

        Args:
            url: DATABASE_URL, as it stands.
            pool_size: most connections of the durable pool; 1 is enough for everything to work.
            pre_ping: ask each connection whether it lives before it is used, so that no caller is told of a restart of
                PostgreSQL that is over; a stage repeats anyhow and saves the round trip.
            transaction_pooler: a pooler such as PgBouncer in transaction mode stands in front: no prepared statements
                are kept and the session's time-outs are set in each transaction. `pgbouncer=true` in `url` says so too.

        Raises:
            SettingsError: `url` makes no sense.
        """
        self.address = read_address(url)
        self._pooler = transaction_pooler or self.address.transaction_pooler
        self._pre_ping = pre_ping
        self._durable = self._engine(pool_size, {})
        self._quick = self._engine(min(pool_size, 4), {"synchronous_commit": "off"}).execution_options(
            isolation_level="AUTOCOMMIT"
        )

    def _engine(self, pool_size: int, extra: dict[str, str]) -> AsyncEngine:
        connect: dict[str, Any] = {**self.address.arguments, "command_timeout": 35}
        settings = {**self.address.server_settings, "application_name": self.address.application_name}
        options: dict[str, Any] = {}
        if self._pooler:
            connect["statement_cache_size"] = 0
            connect["prepared_statement_name_func"] = lambda: f"__asyncpg_{uuid4()}__"
            options["prepared_statement_cache_size"] = 0
        else:
            # those that stand beside `options` win over what is in it
            settings |= {**SESSION_SETTINGS, **extra}
        connect["server_settings"] = settings
        engine = create_async_engine(
            DIALECT,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=30,
            pool_pre_ping=self._pre_ping,
            connect_args={**connect, **options},
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
        )
        event.listen(engine.sync_engine, "handle_error", _throw_away_broken)
        return engine

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A durable transaction, committed when the block ends and rolled back when it raises.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, read-only, or closed the connection.
        """
        async with self._translated(), self._durable.begin() as connection:
            if self._pooler:
                await _set_local(connection)
            yield connection

    @asynccontextmanager
    async def quick(self) -> AsyncIterator[AsyncConnection]:
        """Single statements, each committed at once without waiting for the disk.

        A conflict is an outage here: nothing was written, and whoever asks does it again anyway.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, read-only, closed the connection, or another was in the way.
        """
        async with self._translated(conflicts=True), self._quick.connect() as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads, and sees one state of the database throughout.

        Raises:
            DatabaseUnavailable: PostgreSQL is away or closed the connection.
        """
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        async with self._translated(conflicts=True), self._durable.connect() as connection:
            await connection.execution_options(**options)
            async with connection.begin():
                yield connection

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a durable transaction; a deadlock or serialization failure repeats it at once.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, or the conflict did not go away.
        """
        timeouts = 0
        for repeat in range(MOST_REPEATS):
            try:
                return await self._once(work)
            except RepeatTransaction:
                pass
            except DBAPIError as error:
                timeouts += sqlstate(error) == STATEMENT_TIMED_OUT
                if sqlstate(error) not in REPEATABLE or timeouts > MOST_TIMEOUTS:
                    raise
            await asyncio.sleep(random.uniform(0, 0.02 * (repeat + 1)))  # noqa: S311  spreads repeats, no secret
        raise DatabaseUnavailable(
            f"PostgreSQL at {self.address.shown}: a conflict did not go away in {MOST_REPEATS} tries"
        )

    async def _once(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        point = name_of(work)
        async with self.begin() as connection:
            result = await work(connection)
            reach(f"{point}:before-commit")
        reach(f"{point}:after-commit")
        return result

    async def end_stalled(self) -> int:
        """End sessions of frozen processes that hold rows, and which the time-outs do not reach; returns how many.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.
        """
        async with self.quick() as db:
            return int(await db.scalar(text(END_STALLED), {"name": self.address.application_name}) or 0)

    async def run_sync(self, work: Callable[..., T]) -> T:
        """Run `work(connection)` with a synchronous connection, for Alembic; no time-outs apply to a migration."""
        async with self._translated(), self._durable.connect() as connection:
            for name in SESSION_SETTINGS:
                await connection.execute(text(f"SET {name} = 0"))
            await connection.commit()
            try:
                return await connection.run_sync(work)
            finally:
                await connection.invalidate()

    async def check(self) -> None:
        """Ask whether PostgreSQL is there and takes writes.

        Raises:
            DatabaseUnavailable: it does not, with the address that was tried and what to set.
        """
        async with self.begin() as connection:
            if await connection.scalar(text("SELECT current_setting('transaction_read_only')")) == "on":
                raise DatabaseUnavailable(f"PostgreSQL at {self.address.shown} is read-only")

    async def close(self) -> None:
        """Close both pools."""
        await self._durable.dispose()
        await self._quick.dispose()

    @asynccontextmanager
    async def _translated(self, *, conflicts: bool = False) -> AsyncIterator[None]:
        try:
            yield
        except DBAPIError as error:
            if is_outage(error) or (conflicts and sqlstate(error) in REPEATABLE):
                raise DatabaseUnavailable(self._explain(error.orig or error)) from error
            raise
        except (OSError, PoolTimeout, TimeoutError) as error:
            raise DatabaseUnavailable(self._explain(error)) from error
        except Exception as error:
            # asyncpg's own errors escape undressed while SQLAlchemy connects or sets a new connection up
            if type(error).__module__.startswith("asyncpg") and is_outage_state(getattr(error, "sqlstate", None)):
                raise DatabaseUnavailable(self._explain(error)) from error
            raise

    def _explain(self, error: BaseException) -> str:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        return (
            f"PostgreSQL at {self.address.shown} cannot be used ({reason}); is it running, and is DATABASE_URL right?"
        )


def sqlstate(error: DBAPIError) -> str | None:
    """The SQLSTATE behind SQLAlchemy's wrapper, or None."""
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None


def is_outage(error: DBAPIError) -> bool:
    """Whether the failure says that PostgreSQL is away rather than that a statement was wrong."""
    return error.connection_invalidated or is_outage_state(sqlstate(error))


def is_outage_state(state: str | None) -> bool:
    """Whether a SQLSTATE means an outage: 08xxx, 57P0x, 53xxx, 25006; 28xxx and 3Dxxx end up here on connecting."""
    return state is not None and (state == READ_ONLY or state.startswith((*OUTAGE_CLASSES, "28", "3D")))


def _throw_away_broken(context: ExceptionContext) -> None:
    state = getattr(context.original_exception, "sqlstate", None)
    if is_outage_state(state):
        context.is_disconnect = True


async def _set_local(connection: AsyncConnection) -> None:
    parts = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in SESSION_SETTINGS.items())
    await connection.execute(text(f"SELECT {parts}"))
