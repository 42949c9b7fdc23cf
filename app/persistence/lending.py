"""Lends the connections of one process: a place first, then a connection; what nobody uses for a while is closed.

ask ─▶ a place (turns.py) ─▶ the connection used last, or a new one ─▶ used ─▶ given back, kept for some seconds
                              └ refused with 53300: wait for one of ours, or try again a little later
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import greenlet_spawn

from app.errors import ConnectionsRefused, DatabaseUnavailable
from app.metrics.process import watch_connections
from app.persistence.failures import TOO_MANY_CONNECTIONS, explain_refusal, sqlstate
from app.persistence.idle import Idle
from app.persistence.statements import is_alive
from app.persistence.turns import Turns

IDLE_S = 3.0
"""For how long a connection that nobody uses is kept, in seconds."""
IDLE_UNDER_PRESSURE_S = 0.2
"""The same after the server refused one: others want it."""
REFUSED_PAUSE_S = (0.05, 0.1, 0.2)
"""Between two tries to connect where no connection of ours can come free, in seconds; the last one repeats."""
REFUSED_LATELY_S = 1.0
"""For so long a refusal says what others wait for, in seconds: tries follow each other sooner."""

LET_GO_EVERY_S, LET_GO_FOR_S = 3.0, 0.3
"""While all places are taken and waited for, one connection is closed that often and its place left empty that long, in
seconds: a process that has none at all, on a server at its limit, finds room then. Longer than the last pause above."""


class Kind(NamedTuple):
    """Of the transactions on a connection, in the driver's words. Set anew for each loan, so nothing is put back."""

    isolation: str | None
    read_only: bool


WRITING = Kind(None, read_only=False)
READING = Kind("repeatable_read", read_only=True)
"""All that is read is of one moment."""
AUTOCOMMIT = Kind("autocommit", read_only=False)
"""None: each statement commits by itself."""


class Lender:
    """The one that all connections of a process are asked of."""

    def __init__(self, engine: AsyncEngine, *, size: int, pre_ping: bool, wait_s: float, shown: str) -> None:
        """Prepare it.

        Args:
            engine: one that keeps no connection by itself.
            size: most connections, DATABASE_POOL_SIZE.
            pre_ping: ask what was idle for a while whether it lives before it is lent.
            wait_s: how long somebody waits for a connection, opening it included.
            shown: the address, for messages.
        """
        self._engine = engine
        self._turns = Turns(size)
        self._pre_ping = pre_ping
        self._idle = Idle()
        self._open = 0
        """Connections that there are, those that are being opened or closed among them."""
        self._closed = False
        self._wait_s = wait_s
        self._shown = shown
        self._returning: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._let_go_at = time.monotonic()
        self._refused: tuple[float, str] | None = None
        """When the server refused a connection last, and that in one line."""
        watch_connections(self)

    def use(self) -> dict[str, int]:
        """See `app.metrics.process.Lending`."""
        turns = self._turns
        return {"limit": turns.size, "open": self._open, "used": turns.held, "waiting": turns.asking}

    @property
    def refusal(self) -> str | None:
        """What somebody waits for who has no connection yet, in one line, while the server is at its limit."""
        if self._refused is None or time.monotonic() - self._refused[0] > REFUSED_LATELY_S:
            return None
        return self._refused[1]

    def _explain(self, error: BaseException) -> str:
        return explain_refusal(self._shown, error, self._open, self._turns.size)

    def lend(self, opening: str, kind: Kind, *, long: bool = True) -> Loan:
        """A connection for a block, whose transactions are of a kind and begin with `opening`.

        However the block ends, its place is free only when the connection is back or closed.

        Raises:
            DatabaseUnavailable: none came free within `wait_s`.
            ConnectionsRefused: the server is at its limit, and was so for `wait_s`.
            Exception: what the driver says when it cannot connect.
        """
        return Loan(self, opening, kind, long=long)

    async def take(self, *, long: bool) -> AsyncConnection:
        """A connection and its place; see `lend`."""
        connection = self._take_at_once(long=long) or await self._take(long=long)
        return AsyncConnection(self._engine, connection)

    async def give(self, lent: AsyncConnection, *, long: bool) -> None:
        """Take a connection back. Who goes on with what was lent has nothing of the next one's who gets it."""
        connection, lent.sync_connection = lent.sync_connection, None
        assert connection is not None
        rest_s, stays = self._rest_s(), False
        try:
            stays = not rest_s and not self._closed and _is_as_lent(connection)
        finally:
            if stays:
                self._keep(connection, long=long)
            else:
                returning = asyncio.create_task(self._return(connection, long=long, rest_s=rest_s))
                self._returning.add(returning)
                returning.add_done_callback(self._returning.discard)
                await asyncio.shield(returning)

    async def close(self) -> None:
        """Close everything that is not lent; what is lent is closed when it comes back."""
        self._closed = True
        self._turns.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        while self._idle:
            await self._close(self._idle.take_oldest())
        await self._engine.dispose()

    def _take_at_once(self, *, long: bool) -> Connection | None:
        """A connection that is open and that nobody waits for, which is most of what is lent, else None.

        Neither a round trip nor a wait is needed then; through the event loop it takes several times as long
        (docs/decisions/0043).
        """
        kept = self._idle.last()
        if kept is None or (self._pre_ping and not kept.is_trusted) or not kept.is_usable:
            return None
        return self._idle.take_last().connection if self._turns.take_at_once(long=long) else None

    async def _take(self, *, long: bool) -> Connection:
        refusals: list[BaseException] = []
        connecting = asyncio.Event()
        scope = asyncio.timeout(self._wait_s)
        try:
            async with scope:
                return await self._through_refusals(refusals, connecting, long=long)
        except TimeoutError:
            if not scope.expired():
                raise
            if refusals:
                raise ConnectionsRefused(self._explain(refusals[-1])) from refusals[-1]
            raise DatabaseUnavailable(self._explain_wait(connecting=connecting.is_set())) from None

    def _explain_wait(self, *, connecting: bool) -> str:
        if connecting:
            return (
                f"PostgreSQL at {self._shown} did not answer within {self._wait_s:g} s; "
                "is it running, and is DATABASE_URL right?"
            )
        return (
            f"all connections of this process to PostgreSQL at {self._shown} are in use, and none came free in "
            f"{self._wait_s:g} s; DATABASE_POOL_SIZE is {self._turns.size}"
        )

    async def _through_refusals(
        self, refusals: list[BaseException], connecting: asyncio.Event, *, long: bool
    ) -> Connection:
        """Try until it works; notes who refused, and that it has a place, so that the server is what it waits for."""
        for pause_s in chain(REFUSED_PAUSE_S, repeat(REFUSED_PAUSE_S[-1])):
            await self._turns.take(long=long, first=bool(refusals))
            connecting.set()
            try:
                return await self._take_idle() or await self._connect()
            except BaseException as error:
                refused = sqlstate(error) == TOO_MANY_CONNECTIONS
                one_may_come_free = refused and self._turns.refused()
                self._turns.give(long=long)
                if not refused:
                    raise
                refusals.append(error)
                self._refused = time.monotonic(), self._explain(error)
            if not one_may_come_free:
                await asyncio.sleep(pause_s)
        raise AssertionError("the pauses never end")

    async def _take_idle(self) -> Connection | None:
        """The connection used last to which the server has said nothing since, if there is one; the others go."""
        while self._idle:
            kept = self._idle.take_last()
            usable = False
            try:
                usable = kept.is_usable and (not self._pre_ping or kept.is_trusted or await is_alive(kept.connection))
            finally:
                if not usable:
                    kept.break_off()
                    await self._close(kept.connection)
            if usable:
                return kept.connection
        return None

    async def _connect(self) -> Connection:
        self._open += 1
        try:
            return await greenlet_spawn(self._engine.sync_engine.connect)
        except BaseException:
            self._open -= 1
            raise

    async def _close(self, connection: Connection) -> None:
        """Return once the server let go of it, or after two seconds."""
        try:
            if not connection.closed:
                await greenlet_spawn(connection.invalidate)
        finally:
            self._open -= 1
            await greenlet_spawn(connection.close)

    def _keep(self, connection: Connection, *, long: bool) -> None:
        """Take back one on which nothing has to be ended; no round trip is needed, so it is back at once."""
        self._idle.keep(connection)
        self._turns.give(long=long)
        self._begin_to_sweep()

    def _rest_s(self) -> float:
        """For how long the place of what comes back now stays empty: 0 but for one that is closed for others' sake."""
        now = time.monotonic()
        if not self._turns.contended or now - self._let_go_at <= LET_GO_EVERY_S:
            return 0.0
        self._let_go_at = now
        return LET_GO_FOR_S

    async def _return(self, connection: Connection, *, long: bool, rest_s: float) -> None:
        """Close a connection, and leave its place empty for `rest_s` seconds."""
        loop = asyncio.get_running_loop()
        try:
            await self._close(connection)
        finally:
            if rest_s:
                loop.call_later(rest_s, partial(self._turns.give, long=long))
            else:
                self._turns.give(long=long)
            self._begin_to_sweep()

    def _begin_to_sweep(self) -> None:
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        """Close what is idle for long, until nothing is; each closing takes a place, so none is opened beside it."""
        while (age_s := self._idle.oldest_s()) is not None:
            wait_s = (IDLE_UNDER_PRESSURE_S if self._turns.under_pressure else IDLE_S) - age_s
            if wait_s > 0 or not self._turns.take_spare():
                await asyncio.sleep(min(max(wait_s, 0.01), IDLE_UNDER_PRESSURE_S))
                continue
            try:
                if self._idle:
                    await self._close(self._idle.take_oldest())
            finally:
                self._turns.closed(self._open)
                self._turns.give(long=False)


def _is_as_lent(connection: Connection) -> bool:
    """Whether nothing has to be ended on it, neither here nor at the server."""
    if connection.closed or connection.invalidated:
        return False
    adapted: Any = connection.connection.dbapi_connection
    if adapted is None or adapted._transaction is not None:  # noqa: SLF001  being thrown away, or to be rolled back
        return False
    session = adapted.driver_connection
    if session.is_closed() or session.is_in_transaction():  # the latter by a BEGIN that somebody wrote
        return False
    transaction = connection.get_transaction()
    if transaction is not None:  # of statements that commit by themselves, of which the server knows nothing
        transaction.close()
    return True


class Loan:
    """See `Lender.lend`. A class of its own, since an asynchronous generator takes several times as long to begin."""

    def __init__(self, lender: Lender, opening: str, kind: Kind, *, long: bool) -> None:
        self._lender, self._opening, self._kind, self._long = lender, opening, kind, long

    async def __aenter__(self) -> AsyncConnection:
        self._connection = await self._lender.take(long=self._long)
        try:
            self._set()
        except BaseException:
            await self._lender.give(self._connection, long=self._long)
            raise
        return self._connection

    def _set(self) -> None:
        lent = self._connection.sync_connection
        assert lent is not None
        adapted: Any = lent.connection.dbapi_connection
        adapted.isolation_level, adapted.readonly = self._kind
        adapted.driver_connection.opening = self._opening

    async def __aexit__(self, *_: object) -> None:
        await self._lender.give(self._connection, long=self._long)
