"""Counts what goes over the wire to PostgreSQL: a relay that reads the server's messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.listening import listening

READY_FOR_QUERY = b"Z"
"""The server's word that a round trip is over: one for each Sync and each simple query."""


@dataclass
class Wire:
    """Counts since the relay began, over all connections.

    `round_trips` are answers that the server ended; `waits` how often it was sent something after it had answered.
    """

    url: str
    round_trips: int = 0
    waits: int = 0
    has_answered: bool = True


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """The same database by way of the relay."""
    parts = urlsplit(url)
    counted = Wire("")

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _relay(counted, (parts.hostname or "", parts.port or 0), reader, writer)

    async with listening(relay) as port:
        counted.url = f"{parts.scheme}://{parts.username}:{parts.password}@127.0.0.1:{port}{parts.path}?sslmode=disable"
        yield counted


async def _relay(
    counted: Wire, target: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    far_reader, far_writer = await asyncio.open_connection(*target)
    asks = asyncio.ensure_future(_copy(counted, reader, far_writer))
    try:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await _count(counted, far_reader, writer)
    finally:
        asks.cancel()
        writer.close()
        far_writer.close()


async def _copy(counted: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        counted.waits += counted.has_answered
        counted.has_answered = False
        writer.write(data)
        await writer.drain()
    writer.close()


async def _count(counted: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = await reader.readexactly(5)
        body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
        counted.has_answered = True
        counted.round_trips += head[:1] == READY_FOR_QUERY
        writer.write(head + body)
        await writer.drain()
