"""Servers that answer byte for byte what a test tells them to, because no real server misbehaves on purpose.

A script is a list of steps sent after each request: bytes are written, numbers are pauses in seconds. When a script
ends the connection is closed, unless its last step is KEEP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.listening import listening

Step = bytes | float | None
KEEP: Step = None
Script = Sequence[Step]


@dataclass
class RawServer:
    """What it was asked: `connections` counts what arrived, `requests` holds each request's head."""

    host: str
    port: int = 0
    connections: int = 0
    open_connections: int = 0
    requests: list[str] = field(default_factory=list)

    def url(self, path: str = "/", host: str | None = None, scheme: str = "http") -> str:
        return f"{scheme}://{host or self.host}:{self.port}{path}"


def answer(body: bytes = b"", *, status: int = 200, length: int | None = -1, **headers: str) -> bytes:
    """One answer; `length` -1 announces the real length, None announces none."""
    lines = [f"HTTP/1.1 {status} Some"]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def serve(
    script: Script | Callable[[str], Script], host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RawServer]:
    """Serve `script`, or what `script(request_head)` gives, on `host` until the block ends."""
    state = RawServer(host)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        state.open_connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await _converse(reader, writer, script, state)
        finally:
            state.open_connections -= 1
            writer.close()

    async with listening(handle, host, port) as state.port:
        yield state


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    script: Script | Callable[[str], Script],
    state: RawServer,
) -> None:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        state.requests.append(head)
        await _skip_body(reader, head)
        steps = script(head) if callable(script) else script
        for step in steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif step is not None and await _gone_within(reader, step):
                return
        if not steps or steps[-1] is not KEEP:
            return


async def _gone_within(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Pause, unless the client hangs up meanwhile; it sends nothing while it waits for an answer."""
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(1) == b""
    except TimeoutError:
        return False


async def _skip_body(reader: asyncio.StreamReader, head: str) -> None:
    for line in head.lower().split("\r\n"):
        if line.startswith("content-length:"):
            await reader.readexactly(int(line.partition(":")[2]))
