"""BEGIN in one go with the first statement of a transaction, which saves a round trip.

    BEGIN and what is set in it ─┐ without waiting
    the first statement, Sync   ─┴─▶ PostgreSQL ─▶ answers: those of BEGIN are dropped here, the rest is asyncpg's

asyncpg sends a message only when the one before is answered; PostgreSQL takes them as they come. BEGIN goes by the
extended protocol and without a Sync of its own, so after an error in it the server skips all up to the Sync of the
statement: none ever runs outside of its transaction. A session whose transaction was not set up as a whole ends.
What is no statement of that protocol, such as COMMIT, has no Sync and has to wait for the answers (`settle`).

The messages are those of the PostgreSQL documentation, 54.2.3 ("Extended Query", "Pipelining") and 54.7.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

SYNC = b"S\x00\x00\x00\x04"
MOST_KEPT = 50
"""Openings in the form in which they are sent; there is a handful."""
DONE, READY, ERROR = b"CZE"
BESIDE = b"NSA"
"""A notice, a parameter's new value, a notification: they may come at any time."""
HEAD = 5
"""Bytes of a message before what is in it: its kind and its length."""


class NotBegun(ConnectionError):
    """The server refused to begin a transaction."""


class Beginning(asyncio.Protocol):
    """Stands before the driver's protocol until the answers to BEGIN are through."""

    def __init__(self, transport: Any, protocol: Any, statements: str) -> None:
        """Send `statements`, which have a semicolon each behind them and none within."""
        self._transport, self._protocol = transport, protocol
        messages, self._left = _messages(statements)
        self._came = b""
        self._settled: asyncio.Future[None] | None = None
        self._refusal: NotBegun | None = None
        self.over = False
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

    def data_received(self, data: bytes) -> None:
        """Drop what answers BEGIN, and hand on the rest."""
        self._came += data
        while not self.over and self._refusal is None and (size := self._size()) <= len(self._came):
            message, self._came = self._came[:size], self._came[size:]
            self._receive(message[0], message)
        if self.over and self._came:
            came, self._came = self._came, b""
            self._protocol.data_received(came)

    def eof_received(self) -> bool | None:
        """Tell the driver; the end of the connection, which follows, is told to both."""
        told: bool | None = self._protocol.eof_received()
        return told

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the driver, and who waits."""
        self._hand_over()
        lost = self._refusal or exc
        self._tell(lost or ConnectionResetError("the server closed the connection"))
        self._protocol.connection_lost(lost)

    def pause_writing(self) -> None:
        """Tell the driver."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell the driver."""
        self._protocol.resume_writing()

    def _size(self) -> int:
        """Bytes of the message that came first; of its head, where that is not all there."""
        return 1 + int.from_bytes(self._came[1:HEAD]) if len(self._came) >= HEAD else HEAD

    def _receive(self, kind: int, message: bytes) -> None:
        if kind in BESIDE:
            self._protocol.data_received(message)
        elif kind == ERROR:
            self._refusal = NotBegun(f"PostgreSQL did not begin a transaction: {_words(message)}")
            self._came = b""
            self._tell(self._refusal)
            self._transport.abort()
        elif kind == READY:  # behind the Sync of `settle`
            self._hand_over()
            self._tell(None)
        elif kind == DONE:
            self._left -= 1
            if self._left == 0 and self._settled is None:
                self._hand_over()

    def _hand_over(self) -> None:
        """What comes from now on is the driver's."""
        if not self.over and not self._transport.is_closing():
            self._transport.set_protocol(self._protocol)
        self.over = True

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
    bind, execute = _message(b"B", bytes(8)), _message(b"E", bytes(5))
    return b"".join(_message(b"P", b"\x00" + one + bytes(3)) + bind + execute for one in each), len(each)


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + (len(content) + 4).to_bytes(4) + content
