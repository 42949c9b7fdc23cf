"""Requests to a sample feed server, and answers as they come over the socket."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from app.samplefeed import SampleFeedServer
from tests.support.oracle import expected_pictures

SKU = "A23-100000"


async def raw_answer(url: str, *, until: bytes | None = None) -> bytes:
    """All that comes back on a connection of its own: until it is closed, or until these bytes are there."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: feed\r\nConnection: close\r\n\r\n".encode())
    try:
        async with asyncio.timeout(5):
            return await (reader.read() if until is None else reader.readuntil(until))
    finally:
        writer.close()


def document_url(server: SampleFeedServer) -> str:
    return f"{server.base_url}/A23/{SKU}.json"


def picture_url(server: SampleFeedServer) -> str:
    return min(expected_pictures(server.feed, "A23"))
