"""PostgreSQL's messages, and both ends of a connection without a socket, to try what stands between them."""

from __future__ import annotations

import asyncio


def message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + (len(content) + 4).to_bytes(4, "big") + content


def done(said: bytes) -> bytes:
    return message(b"1") + message(b"2") + message(b"C", said + b"\x00")


NOTICE = message(b"N", b"SNOTICE\x00\x00")
ERROR = message(b"E", b"SERROR\x00C57014\x00Mcanceled\x00\x00")


class Driver(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: list[Exception | None] = []
        self.told: list[str] = []

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.told.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Wire(asyncio.Transport):
    """A transport that notes what is written, and hands what comes to whoever is its protocol."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.protocol: asyncio.BaseProtocol = driver
        self.written = b""
        self.closing = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def lose(self) -> None:
        self.protocol.connection_lost(None)

    def bring(self, data: bytes) -> None:
        assert isinstance(self.protocol, asyncio.Protocol)
        self.protocol.data_received(data)
