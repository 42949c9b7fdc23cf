"""A TCP proxy that cuts, delays and changes what passes through it, as bad networks and bad middle boxes do.

client ─▶ proxy ─ request, perhaps changed ─▶ server
       ◀─ answer, perhaps changed, cut, late ─
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from tests.support.listening import listening

Fault = Literal[
    "none",
    "cut-request",
    "cut-answer",
    "reset",
    "change-request",
    "change-answer",
    "delay",
    "unavailable",
    "one-declined",
    "declined",
]
HEAD_END = b"\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\nConnection: close\r\n\r\n<html/>"
"""Of a proxy before the store."""
DECLINED = TOO_LARGE.replace(b"413 Content Too Large", b"400 Bad Request")


def declines(code: str, status: int) -> bytes:
    """What a store answers that does not take an object."""
    body = f"<Error><Code>{code}</Code></Error>"
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n{body}".encode()


@dataclass
class FaultProxy:
    """`fault` applies to every connection made from now on, `times` times; `seen` counts how often it struck.

    "one-declined" strikes the object that is put first, "declined" each that is put; both answer `says`.
    """

    target: tuple[str, int]
    port: int = 0
    fault: Fault = "none"
    times: int = 1_000_000
    delay_s: float = 0.1
    seen: int = 0
    says: bytes = DECLINED
    declined: bytes = b""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def strike(self, fault: Fault, times: int = 1_000_000, says: bytes = DECLINED) -> None:
        self.fault, self.times, self.seen, self.says, self.declined = fault, times, 0, says, b""

    def take(self, *faults: Fault) -> bool:
        if self.fault not in faults or self.seen >= self.times:
            return False
        self.seen += 1
        return True

    def declines(self, path: bytes) -> bool:
        self.declined = self.declined or path
        return self.take("declined") or (path == self.declined and self.take("one-declined"))


@asynccontextmanager
async def fault_proxy(endpoint: str) -> AsyncIterator[FaultProxy]:
    """Stand in front of `endpoint` until the block ends."""
    parts = urlsplit(endpoint)
    proxy = FaultProxy((parts.hostname or "", parts.port or 80))

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _relay(proxy, reader, writer)

    async with listening(relay) as proxy.port:
        yield proxy


async def _relay(proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    far_reader, far_writer = await asyncio.open_connection(*proxy.target)
    try:
        with suppress(ConnectionError):
            await _pump_both(proxy, (reader, writer), (far_reader, far_writer))
    finally:
        writer.close()
        far_writer.close()


async def _pump_both(
    proxy: FaultProxy,
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    up = asyncio.create_task(_pump_requests(proxy, near, far[1]))
    down = asyncio.create_task(_pump_answers(proxy, far[0], near[1]))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (up, down):
            task.cancel()
            with suppress(ConnectionError, asyncio.CancelledError):
                await task


async def _pump_requests(
    proxy: FaultProxy, near: tuple[asyncio.StreamReader, asyncio.StreamWriter], writer: asyncio.StreamWriter
) -> None:
    while data := await near[0].read(65_536):
        if proxy.take("unavailable"):
            near[1].write(UNAVAILABLE)
            await near[1].drain()
            return
        if data.startswith(b"PUT ") and proxy.declines(data.split(b" ", 2)[1]):
            near[1].write(proxy.says)
            await near[1].drain()
            return
        has_body = len(data) - data.find(HEAD_END) > 200
        if has_body and proxy.take("cut-request"):
            writer.write(data[: len(data) - 50])
            await writer.drain()
            return
        if proxy.take("reset"):
            return
        if has_body and proxy.take("change-request"):
            data = data[:-50] + bytes([data[-50] ^ 1]) + data[-49:]
        writer.write(data)
        await writer.drain()


async def _pump_answers(proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        if proxy.take("delay"):
            await asyncio.sleep(proxy.delay_s)
        if proxy.take("cut-answer"):
            writer.write(data[: len(data) // 2])
            await writer.drain()
            return
        if proxy.take("change-answer"):
            at = len(data) // 2
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        writer.write(data)
        await writer.drain()
