"""BEGIN in one go with the first statement of a transaction, which saves a round trip.

    BEGIN and what is set in it ─┐ without waiting
    the first statement, Sync   ─┴─▶ PostgreSQL ─▶ answers: those of BEGIN are dropped here, the rest is asyncpg's

BEGIN goes by the extended protocol and without a Sync of its own, so after an error in it the server skips all up to
the Sync of the statement: none ever runs outside of its transaction. A session whose transaction was not set up as a
whole ends. What is no statement of that protocol, such as a COMMIT alone, has no Sync and has to wait for the answers
(`settle`).
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

from app.persistence.stand_in import BESIDE, DONE, ERROR, HEAD, READY, StandIn, Unexpected, made

SYNC = b"S\x00\x00\x00\x04"
MOST_KEPT = 50
"""Openings in the form in which they are sent; there is a handful."""


class NotBegun(Unexpected):
    """The server refused to begin a transaction."""


class Beginning(StandIn):
    """Stands before the driver's protocol until the answers to BEGIN are through."""

    def __init__(self, transport: Any, protocol: Any, statements: str) -> None:
        """Send `statements`, which have a semicolon each behind them and none within."""
        super().__init__(transport, protocol)
        messages, self._left = _messages(statements)
        self._settled: asyncio.Future[None] | None = None
        transport.set_protocol(self)
        transport.write(messages)

    async def settle(self) -> None:
        """Wait for the answers, where it is not a statement of the extended protocol that follows.

        Raises:
            NotBegun: there is no transaction.
            OSError: the connection is gone.
        """
        self._settled = asyncio.get_running_loop().create_future()
        self._transport.write(SYNC)
        await self._settled

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the driver, and who waits."""
        self._tell(self._broken or exc or ConnectionResetError("the server closed the connection"))
        super().connection_lost(exc)

    def _receive(self, kind: int, message: bytes) -> None:
        if kind in BESIDE:
            self._protocol.data_received(message)
        elif kind == ERROR:
            refusal = NotBegun(f"PostgreSQL did not begin a transaction: {_words(message)}")
            self._break(refusal)
            self._tell(refusal)
        elif kind == READY:  # behind the Sync of `settle`
            self._hand_over()
            self._tell(None)
        elif kind == DONE:
            self._left -= 1
            if self._left == 0 and self._settled is None:
                self._hand_over()

    def _tell(self, error: Exception | None) -> None:
        """Let who waits in `settle` go on."""
        if self._settled is None or self._settled.done():
            return
        if error is None:
            self._settled.set_result(None)
        else:
            self._settled.set_exception(error)


def _words(error: bytes) -> str:
    """What an error says to people: its field M."""
    fields = error[HEAD:].decode(errors="replace").split("\0")
    return next((field[1:] for field in fields if field.startswith("M")), "without a reason")


@lru_cache(maxsize=MOST_KEPT)
def _messages(statements: str) -> tuple[bytes, int]:
    """What is sent for these statements, and how many they are."""
    each = [statement.strip().encode() for statement in statements.split(";") if statement.strip()]
    bind, execute = made(b"B", bytes(8)), made(b"E", bytes(5))
    return b"".join(made(b"P", b"\x00" + one + bytes(3)) + bind + execute for one in each), len(each)
