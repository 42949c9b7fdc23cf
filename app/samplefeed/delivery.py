"""How an answer goes out: whole, or broken in one of the ways of `faults.py`.

What a sound HTTP server would not do (cut, drip, reset, a header without end) is written to the socket itself, and the
connection is closed behind it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aiohttp import web

from app.samplefeed.answers import Answer, is_unchanged
from app.samplefeed.faults import Fault

LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Please sign in</form></body></html>"
BROKEN_JSON = b'{"Sku": "A23-1", "ChildProducts": [}'
BOMB_BLOCK_BYTES = 8 * 1024 * 1024
NO_STATUS = 0
"""The status noted where none went out."""


@dataclass(slots=True)
class Habits:
    """What the server does for every answer; may be changed while it runs."""

    latency_s: float = 0.0
    validators: bool = True
    gzip: bool = True


async def deliver(request: web.BaseRequest, found: Answer, habits: Habits) -> web.StreamResponse:
    """Send a whole answer, or 304 where the client has it."""
    if habits.validators and _has_it(request, found):
        headers = found.headers()
        headers.pop("Content-Type")
        return await _send(request, web.Response(status=304, headers=headers))
    headers = found.headers() if habits.validators else {"Content-Type": found.content_type}
    if found.packed is not None and habits.gzip and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return await _send(request, web.Response(status=found.status, body=found.packed, headers=headers))
    return await _send(request, web.Response(status=found.status, body=found.plain(), headers=headers))


async def deliver_broken(
    request: web.BaseRequest, found: Answer, habits: Habits, fault: Fault, stale: bytes
) -> web.StreamResponse:
    """Send an answer with a fault in it; `stale` is the body for a stale one."""
    if fault.action in ("status", "redirect"):
        return await _send(request, _refusal(fault))
    if fault.action == "slow":
        await asyncio.sleep(fault.seconds)
        return await deliver(request, found, habits)
    breaking = BREAKING.get(fault.action)
    if breaking is not None:
        return await breaking(request, found, fault)
    return await deliver(request, _replaced(found, fault, stale), habits)


def _has_it(request: web.BaseRequest, found: Answer) -> bool:
    return is_unchanged(found, request.headers.get("If-None-Match"), request.headers.get("If-Modified-Since"))


def _replaced(found: Answer, fault: Fault, stale: bytes) -> Answer:
    body = {"broken_json": BROKEN_JSON, "html": LOGIN_PAGE, "stale": stale, "body": fault.body}.get(fault.action)
    answer = found if body is None else found.with_body(body)
    return replace(answer, content_type=fault.content_type or answer.content_type, status=fault.status or 200)


def _refusal(fault: Fault) -> web.Response:
    headers = {"Content-Type": fault.content_type or "text/html"}
    if fault.retry_after is not None:
        headers["Retry-After"] = fault.retry_after
    if fault.action == "redirect":
        headers["Location"] = fault.location
    default = 302 if fault.action == "redirect" else 503
    return web.Response(status=fault.status or default, body=fault.body, headers=headers)


async def _send(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    await response.prepare(request)
    await response.write_eof()
    return response


def _closed(status: int) -> web.StreamResponse:
    """What the framework is given when the connection is closed already: it finds so, and sends nothing."""
    return web.Response(status=status)


def _transport(request: web.BaseRequest) -> asyncio.Transport:
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        raise ConnectionResetError("the client is gone")
    return transport


async def _reset(request: web.BaseRequest, _found: Answer, _fault: Fault) -> web.StreamResponse:
    transport = _transport(request)
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    return _closed(NO_STATUS)


async def _cut(request: web.BaseRequest, found: Answer, fault: Fault) -> web.StreamResponse:
    body = found.plain()
    part = body[: int(len(body) * fault.share)]
    transport = _transport(request)
    if fault.action == "cut":
        transport.write(_head(found, f"Content-Length: {len(body)}") + part)
    elif fault.action == "cut_chunked":
        transport.write(_head(found, "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (len(part), part))
    else:
        transport.write(_head(found, "Connection: close") + part)
    transport.close()
    return _closed(found.status)


async def _drip(request: web.BaseRequest, found: Answer, fault: Fault) -> web.StreamResponse:
    transport, body = _transport(request), found.plain()
    transport.write(_head(found, f"Content-Length: {len(body)}"))
    for at in range(len(body)):
        if transport.is_closing():
            break
        transport.write(body[at : at + 1])
        await asyncio.sleep(fault.seconds)
    transport.close()
    return _closed(found.status)


async def _endless_header(request: web.BaseRequest, _found: Answer, fault: Fault) -> web.StreamResponse:
    transport = _transport(request)
    transport.write(b"HTTP/1.1 200 OK\r\n")
    line = 0
    while not transport.is_closing():
        line += 1
        transport.write(b"X-Line-%d: more to come\r\n" % line)
        await asyncio.sleep(fault.seconds)
    return _closed(NO_STATUS)


async def _bomb(request: web.BaseRequest, found: Answer, fault: Fault) -> web.StreamResponse:
    """Zeros in one gzip stream: a flushed block packs each block alike, so it is packed once and sent over again."""
    response = web.StreamResponse(headers={"Content-Type": found.content_type, "Content-Encoding": "gzip"})
    await response.prepare(request)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(BOMB_BLOCK_BYTES)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    await response.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03")
    blocks, check = -(-fault.opened_bytes // BOMB_BLOCK_BYTES), 0
    for _ in range(blocks):
        check = zlib.crc32(zeros, check)
        await response.write(block)
    size = blocks * BOMB_BLOCK_BYTES % 2**32
    await response.write(packer.flush(zlib.Z_FINISH) + struct.pack("<II", check, size))
    await response.write_eof()
    return response


def _head(found: Answer, framing: str) -> bytes:
    return f"HTTP/1.1 {found.status} OK\r\nContent-Type: {found.content_type}\r\n{framing}\r\n\r\n".encode()


BREAKING: dict[str, Callable[[web.BaseRequest, Answer, Fault], Awaitable[web.StreamResponse]]] = {
    "reset": _reset,
    "cut": _cut,
    "cut_chunked": _cut,
    "cut_close": _cut,
    "drip": _drip,
    "endless_header": _endless_header,
    "gzip_bomb": _bomb,
}
