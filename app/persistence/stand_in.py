"""A protocol that stands before the driver's for a while, and keeps answers from it that it did not ask for.

    socket ─▶ stand-in ─▶ asyncpg's protocol
                 └ drops, holds back or hands on, message by message, until it is over

asyncpg sends a message only when the one before is answered; PostgreSQL takes them as they come. What is sent beside
asyncpg is answered beside it. The messages are those of the PostgreSQL documentation, 54.2.3 ("Extended Query",
"Pipelining") and 54.7.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any

DONE, READY, ERROR = b"CZE"
BESIDE = b"NSA"
"""A notice, a parameter's new value, a notification: they may come at any time."""
HEAD = 5
"""Bytes of a message before what is in it: its kind and its length."""


class Unexpected(ConnectionError):
    """What the server answered leaves open what holds, so the connection was ended."""


class StandIn(asyncio.Protocol, ABC):
    """Splits what comes into messages; what to do with each is the subclass's."""

    def __init__(self, transport: Any, protocol: Any) -> None:
        """Stand before `protocol`, which is not told of it; the caller makes the transport hand over what comes."""
        self._transport, self._protocol = transport, protocol
        self._came = b""
        self._broken: Exception | None = None
        self.over = False

    def data_received(self, data: bytes) -> None:
        """Look at each message that is there as a whole."""
        came, at = self._came + data, 0
        while not self.over and self._broken is None and at + HEAD <= len(came):
            end = at + 1 + int.from_bytes(came[at + 1 : at + HEAD])
            if end > len(came):
                break
            message, at = came[at:end], end
            self._receive(message[0], message)
        self._came = came[at:] if self._broken is None else b""
        if self.over and self._came:
            came, self._came = self._came, b""
            self._protocol.data_received(came)

    def eof_received(self) -> bool | None:
        """Tell the driver; the end of the connection, which follows, is told to both."""
        told: bool | None = self._protocol.eof_received()
        return told

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the driver."""
        self._hand_over()
        self._protocol.connection_lost(self._broken or exc)

    def pause_writing(self) -> None:
        """Tell the driver."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell the driver."""
        self._protocol.resume_writing()

    def put_behind(self, protocol: Any) -> None:
        """Let `protocol` have what comes when this one is over."""
        self._protocol = protocol

    @abstractmethod
    def _receive(self, kind: int, message: bytes) -> None:
        """Do with one message what is to be done with it."""

    def _break(self, error: Exception) -> None:
        """End the connection, for this reason."""
        self._broken = error
        self._transport.abort()

    def _hand_over(self) -> None:
        """What comes from now on is the driver's."""
        if not self.over and not self._transport.is_closing():
            self._transport.set_protocol(self._protocol)
        self.over = True


def made(kind: bytes, content: bytes) -> bytes:
    """A message of this kind."""
    return kind + (len(content) + 4).to_bytes(4) + content
