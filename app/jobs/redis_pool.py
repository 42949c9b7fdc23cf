"""redis-py's pool of connections, which gives back what it did not need for some seconds."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection

LOOK_S = 5.0
"""Seconds between two looks at what was not needed. A host counts Redis' connections as it counts PostgreSQL's."""
KEPT = 1
"""Free connections that stay for the next command, however long it takes to come."""


class ShrinkingRedisPool(ConnectionPool):
    """redis-py's own keeps as many connections as were ever in use at once: hundreds, for ever, after one busy second.

    What was free all the time between two looks is closed. redis-py lends the last of the free connections and puts it
    back as the last, so those in front are idle the longest.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._least_free = 0
        self._sweeper: asyncio.Task[None] | None = None

    async def get_connection(self, *_: object, **__: object) -> AbstractConnection:
        """A connection that is ready for a command.

        redis-py looks on each one for something that came unasked, by reading for no time at all: a tenth of a call's
        time. Whether something came that far, or an end, is known without. And it connects one at a time, under a lock:
        while Redis keeps silent each caller would wait for the time-outs of all before.
        """
        connection = self.get_available_connection()
        if not _is_open(connection):
            try:
                await self.ensure_connection(connection)
            except BaseException:
                await self.release(connection)
                raise
        return connection

    def get_available_connection(self) -> AbstractConnection:
        """The free connection that was used last, or a new one."""
        lent: AbstractConnection = super().get_available_connection()  # type: ignore[no-untyped-call]
        self._least_free = min(self._least_free, len(self._available_connections))
        return lent

    async def release(self, connection: AbstractConnection) -> None:
        """Take a connection back."""
        await super().release(connection)
        if len(self._available_connections) > KEPT and (self._sweeper is None or self._sweeper.done()):
            self._sweeper = asyncio.create_task(self._sweep())

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the free connections, those in use too if it is so said; they are opened again when they are needed."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await super().disconnect(inuse_connections)

    async def _sweep(self) -> None:
        """Close what is free for long, until no more is free than stays."""
        while len(self._available_connections) > KEPT:
            self._least_free = len(self._available_connections)
            await asyncio.sleep(LOOK_S)
            for _ in range(self._least_free - KEPT):
                if len(self._available_connections) > KEPT:
                    await self._available_connections.pop(0).disconnect()


def _is_open(connection: AbstractConnection) -> bool:
    """Whether it is connected, and nothing came that no command asked for: an answer, an end, an error."""
    reader = connection._reader  # noqa: SLF001
    if not connection.is_connected or reader is None or _holds_more(connection._parser):  # noqa: SLF001
        return False
    return not (reader.at_eof() or reader.exception() or reader._buffer)  # type: ignore[attr-defined]  # noqa: SLF001


def _holds_more(parser: Any) -> bool:
    """Whether more than the last answer came with it; hiredis' parser and redis-py's own keep that in their ways."""
    hiredis: Any = getattr(parser, "_reader", None)
    return bool(hiredis.has_data() if hiredis is not None else getattr(parser, "_buffer", b""))
