"""Connections to PostgreSQL: one pool, transactions, and which failures are an outage.

- `begin` gives a durable transaction; a stage's results, its job's state and the jobs that it leads to go in one.
- `quick` gives single statements that commit without waiting for the disk, for what may be lost without harm: claims
  (a lost claim only makes the job run again, since its token is random), progress, dispatch marks.
- `read` gives a transaction that only reads; `snapshot` one that may be held for long.

DATABASE_POOL_SIZE bounds all of them together; `lending.py` has who gets one and gives back what is idle,
`sessions.py` what is set in a session, so that a frozen worker cannot hold a row (ENGINE.md 1, "Connections").
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import orjson
from sqlalchemy import event, text
from sqlalchemy.engine import Connection as SyncConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from app.errors import DatabaseReadOnly, DatabaseUnavailable, SnapshotsTaken
from app.failpoints import cuts, is_armed, name_of, reach
from app.persistence.advice import ADVICE
from app.persistence.blocks import Block
from app.persistence.breaking import break_off
from app.persistence.database_address import DIALECT, read_address
from app.persistence.failures import (
    READ_ONLY,
    REPEATABLE,
    STATEMENT_CANCELLED,
    StatementRefused,
    sqlstate,
    throw_away_broken,
)
from app.persistence.last_statements import NotTheLast, allow_commit, is_committed
from app.persistence.lending import AUTOCOMMIT, READING, WRITING, Lender
from app.persistence.retelling import Retelling
from app.persistence.sessions import STATEMENT_TIMEOUT_S, connect_arguments, migration_arguments, openings
from app.persistence.statements import info_of, refuse_behind_commit

T = TypeVar("T")
Connection = AsyncConnection
"""What a stage or an endpoint hands to repositories; outside of this folder nobody needs to know whose it is."""

MOST_REPEATS = 20
MOST_TIMEOUTS = 2
"""Of statements: also what a server says that was frozen when it wakes up, so they are repeated, but not for ever."""
SNAPSHOTS_SHARE, ROOM_FOR_SNAPSHOTS = 4, 3
"""Of so many connections one may be held by a snapshot, and from so many on it is one of them, not one beside them."""
STAGE_WAIT_S = 30.0
"""For how long a stage waits for a connection, in seconds, before that is an outage."""
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
        self,
        url: str,
        *,
        pool_size: int = 10,
        transaction_pooler: bool = False,
        pre_ping: bool = False,
        wait_s: float = STAGE_WAIT_S,
    ) -> None:
        """Prepare the pool; nothing connects until the first use.

        Args:
            url: DATABASE_URL, as it stands.
            pool_size: most connections, of whatever kind; 1 is enough for everything to work.
            transaction_pooler: a pooler such as PgBouncer in transaction mode stands in front: every statement is in a
                transaction that is set up by itself, and none stays prepared. `pgbouncer=true` in `url` says so too.
            pre_ping: ask each connection whether it lives before it is used, so that no caller is told of a restart of
                PostgreSQL that is over; a stage repeats anyhow and saves the round trip.
            wait_s: for how long a connection is waited for, in seconds.

        Raises:
            SettingsError: `url` makes no sense.
        """
        self.address = read_address(url)
        self._pooler = transaction_pooler or self.address.transaction_pooler
        self._openings = openings(self.address, pooler=self._pooler)
        self._retelling = Retelling(self.address.shown)
        self._retelling_conflicts = Retelling(self.address.shown, conflicts=True)
        lender = partial(self._make_lender, pre_ping=pre_ping, wait_s=wait_s)
        self._lender = lender(pool_size)
        self._snapshot_lender = self._lender if pool_size >= ROOM_FOR_SNAPSHOTS else lender(1)
        self._most_snapshots = max(1, pool_size // SNAPSHOTS_SHARE)
        self._snapshot_places = asyncio.Semaphore(self._most_snapshots)

    def _make_lender(self, size: int, *, pre_ping: bool, wait_s: float) -> Lender:
        engine = create_async_engine(
            DIALECT,
            poolclass=NullPool,
            connect_args=connect_arguments(self.address, pooler=self._pooler),
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
        )
        event.listen(engine.sync_engine, "handle_error", throw_away_broken)
        event.listen(engine.sync_engine, "before_cursor_execute", _refuse_behind_commit)
        return Lender(engine, size=size, pre_ping=pre_ping, wait_s=wait_s, shown=self.address.shown)

    def begin(self) -> Block:
        """A durable transaction, committed when the block ends and rolled back when it raises.

        A conflict is an outage here: nobody repeats the block, as `transact` does.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, read-only, closed the connection, or another was in the way.
            StatementRefused: a statement in it was wrong.
        """
        return self._durable(self._retelling_conflicts)

    def _durable(self, retelling: Retelling) -> Block:
        return Block(self._lender.lend(self._openings.durable, WRITING), retelling)

    def quick(self) -> Block:
        """Single statements, each committed at once without waiting for the disk.

        Behind a transaction pooler they are committed together when the block ends; so nothing else is waited for here.
        A conflict is an outage here: nothing was written, and whoever asks does it again anyway.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, read-only, closed the connection, or another was in the way.
        """
        loan = self._lender.lend(self._openings.quick, WRITING if self._pooler else AUTOCOMMIT, long=False)
        return Block(loan, self._retelling_conflicts, in_transaction=self._pooler)

    def read(self) -> Block:
        """A transaction that only reads, and sees one state of the database throughout.

        Raises:
            DatabaseUnavailable: PostgreSQL is away or closed the connection.
        """
        return Block(self._lender.lend(self._openings.read, READING), self._retelling_conflicts)

    @asynccontextmanager
    async def snapshot(self, *, idle_s: int, place_within_s: float) -> AsyncIterator[AsyncConnection]:
        """As `read`, for as long as somebody takes who may pause for up to `idle_s` seconds between two statements.

        Only a few at a time, so that everybody else finds a connection; where there are hardly any, on one more. A
        place is waited for, in the order of asking.

        Raises:
            SnapshotsTaken: as many are held as there may be, and none ended within `place_within_s` seconds.
            DatabaseUnavailable: PostgreSQL is away or closed the connection.
        """
        opening = f"{self._openings.read}SET LOCAL idle_in_transaction_session_timeout TO '{idle_s}s';"
        block = Block(self._snapshot_lender.lend(opening, READING), self._retelling_conflicts)
        async with self._snapshot_place(place_within_s), block as connection:
            yield connection

    @asynccontextmanager
    async def _snapshot_place(self, within_s: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(within_s):
                await self._snapshot_places.acquire()
        except TimeoutError:
            said = f"{self._most_snapshots} at a time is what DATABASE_POOL_SIZE has room for: try again"
            raise SnapshotsTaken(said) from None
        try:
            yield
        finally:
            self._snapshot_places.release()

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a durable transaction; a deadlock, or a statement that an operator cancels, repeats it at once.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, or the conflict did not go away.
            StatementRefused: a statement was wrong, or took too long several times.
        """
        timeouts, last = 0, not self._pooler
        for repeat in range(MOST_REPEATS):
            begun = time.monotonic()
            try:
                return await self._once(work, last=last)
            except NotTheLast:
                last = False
                continue
            except RepeatTransaction:
                pass
            except StatementRefused as error:
                timeouts += _timed_out(error, time.monotonic() - begun)
                if sqlstate(error) not in REPEATABLE or timeouts > MOST_TIMEOUTS:
                    raise
            await asyncio.sleep(random.uniform(0, 0.02 * (repeat + 1)))  # noqa: S311  spreads repeats, no secret
        raise DatabaseUnavailable(
            f"PostgreSQL at {self.address.shown}: a conflict did not go away in {MOST_REPEATS} tries; "
            "pg_blocking_pids() names who holds what is needed"
        )

    async def _once(self, work: Callable[[AsyncConnection], Awaitable[T]], *, last: bool) -> T:
        point = name_of(work)
        async with self._durable(self._retelling) as connection:
            allow_commit(info_of(connection), last=last and not is_armed(f"{point}:before-commit"))
            result = await work(connection)
            reach(f"{point}:before-commit")
            if cuts(f"{point}:cut"):
                if not is_committed(connection):
                    await connection.exec_driver_sql("COMMIT")
                await break_off(connection)
        reach(f"{point}:after-commit")
        return result

    async def end_stalled(self) -> int:
        """End sessions of frozen processes that hold rows, and which the time-outs do not reach; returns how many.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.
        """
        async with self.quick() as db:
            return int(await db.scalar(text(END_STALLED), {"name": self.address.application_name}) or 0)

    @asynccontextmanager
    async def unlimited(self) -> AsyncIterator[AsyncEngine]:
        """An engine outside of the pool, for migrations: connections are not kept, and only locks have a time-out.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.
        """
        arguments = migration_arguments(self.address, pooler=self._pooler)
        engine = create_async_engine(DIALECT, poolclass=NullPool, connect_args=arguments)
        try:
            with Retelling(self.address.shown, migrating=True).around():
                yield engine
        finally:
            await engine.dispose()

    @property
    def refusal(self) -> str | None:
        """Why nobody gets a new connection at the moment: the server is at its limit. None where it is not."""
        return self._lender.refusal

    async def check(self) -> None:
        """Ask whether PostgreSQL is there and takes writes.

        Raises:
            DatabaseUnavailable: it does not, with the address that was tried and what to set.
        """
        async with self.begin() as connection:
            if await connection.scalar(text("SELECT current_setting('transaction_read_only')")) == "on":
                raise DatabaseReadOnly(f"PostgreSQL at {self.address.shown} is read-only: {ADVICE[READ_ONLY]}")

    async def close(self) -> None:
        """Close the pool."""
        await self._lender.close()
        if self._snapshot_lender is not self._lender:
            await self._snapshot_lender.close()


def _timed_out(error: StatementRefused, after_s: float) -> bool:
    """Whether a statement may have been cancelled by its time-out: what took less time than that was by somebody."""
    return sqlstate(error) == STATEMENT_CANCELLED and after_s >= STATEMENT_TIMEOUT_S


def _refuse_behind_commit(connection: SyncConnection, *_: object) -> None:
    refuse_behind_commit(connection.connection.driver_connection)
