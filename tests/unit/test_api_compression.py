"""What the layers around the application make of an answer: compressed in whole and in pieces, HEAD without a body."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import zstandard
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.compression import Compression
from app.api.head import HeadAsGet

TEXT = json.dumps([{"name": f"Tas {number}", "price": "8.98"} for number in range(100)]).encode()
Decode = Callable[[bytes], bytes]


def decoder(coding: str) -> Decode:
    if coding == "gzip":
        return zlib.decompressobj(31).decompress
    return zstandard.ZstdDecompressor().decompressobj().decompress


async def ask(app: ASGIApp, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], list[bytes]]:
    """Status, headers and the body's pieces."""
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": method, "path": "/", "headers": raw}, receive, send)
    start, *bodies = sent
    assert not bodies[-1].get("more_body", False)
    said = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], said, [message["body"] for message in bodies]


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_body_goes_out_compressed_with_its_length(coding: str) -> None:
    app = Compression(Response(TEXT, media_type="application/json", headers={"ETag": '"one"', "Vary": "Accept"}))
    _, said, pieces = await ask(app, accept_encoding=coding)
    assert decoder(coding)(b"".join(pieces)) == TEXT
    assert said["content-encoding"] == coding
    assert int(said["content-length"]) == len(b"".join(pieces)) < len(TEXT) / 4
    assert said["etag"] == 'W/"one"', "these are other bytes than those of a strong ETag"
    assert said["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    ("body", "headers", "asked"),
    [
        (TEXT, {"Content-Type": "application/json"}, "identity"),
        (TEXT, {"Content-Type": "application/json"}, "br, gzip;q=0"),
        (b"x" * 1000, {"Content-Type": "application/json"}, "gzip"),
        (TEXT, {"Content-Type": "image/jpeg"}, "gzip"),
        (TEXT, {"Content-Type": "text/event-stream"}, "gzip"),
        (TEXT, {"Content-Type": "text/plain", "Content-Encoding": "br"}, "gzip"),
        (TEXT, {"Content-Type": "text/plain", "Cache-Control": "no-transform"}, "gzip"),
    ],
)
async def test_what_is_small_or_packed_or_not_wanted_goes_out_as_it_is(
    body: bytes, headers: dict[str, str], asked: str
) -> None:
    _, said, pieces = await ask(Compression(Response(body, headers=headers)), accept_encoding=asked)
    assert b"".join(pieces) == body
    assert said.get("content-encoding") == headers.get("Content-Encoding")
    assert said["content-length"] == str(len(body))


async def test_a_kilobyte_and_a_byte_is_compressed() -> None:
    _, said, _ = await ask(Compression(Response(b"x" * 1001, media_type="text/plain")), accept_encoding="gzip")
    assert said["content-encoding"] == "gzip"


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_each_line_of_a_stream_can_be_read_when_it_was_sent(coding: str) -> None:
    lines = [f'{{"sku": "A-{number}"}}\n'.encode() for number in range(5)] + [b"x" * 300_000 + b"\n"]
    read = decoder(coding)
    arrived: list[bytes] = []

    async def produced() -> AsyncIterator[bytes]:
        for number, line in enumerate(lines):
            assert b"".join(arrived) == b"".join(lines[:number])
            yield line

    app = Compression(StreamingResponse(produced(), media_type="application/x-ndjson"))
    said: dict[str, str] = {}

    async def send(message: Message) -> None:
        said.update({name.decode(): value.decode() for name, value in message.get("headers", [])})
        arrived.append(read(message.get("body", b"")))

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    headers = [(b"accept-encoding", coding.encode())]
    await app({"type": "http", "method": "GET", "path": "/", "headers": headers}, receive, send)
    assert b"".join(arrived) == b"".join(lines)
    assert said["content-encoding"] == coding
    assert "content-length" not in said


async def test_head_says_what_get_says_and_sends_no_body() -> None:
    app = HeadAsGet(Compression(Response(TEXT, media_type="application/json")))
    _, of_get, _ = await ask(app, accept_encoding="gzip")
    status, of_head, pieces = await ask(app, "HEAD", accept_encoding="gzip")
    assert (status, of_head, pieces) == (200, of_get, [b""])


async def test_head_of_a_stream_ends_with_its_first_piece() -> None:
    ended: list[Any] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                ended.append(b"")
                yield b"line\n"
        finally:
            ended.append("closed")

    app = HeadAsGet(Compression(StreamingResponse(endless(), media_type="application/x-ndjson")))
    async with asyncio.timeout(5):
        status, said, pieces = await ask(app, "HEAD", accept_encoding="zstd")
    assert (status, said["content-encoding"], pieces) == (200, "zstd", [b""])
    assert len(ended) < 5


async def test_a_head_that_nobody_waits_for_ends_what_it_began() -> None:
    ended = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    asking = asyncio.create_task(ask(HeadAsGet(slow), "HEAD"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(5):
        await ended.wait()
