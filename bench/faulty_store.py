"""An S3 server that fails now and then: a proxy that answers a share of the requests itself, with 503 or a reset.

client ─▶ proxy ─┬▶ its own 503, or the connection reset
                 └▶ the real server, headers and signature as they came
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

SLOW_DOWN = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
LEFT_OUT = {"transfer-encoding", "connection", "content-encoding", "content-length"}


@asynccontextmanager
async def failing_store(endpoint_url: str, *, share: float, seed: int) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve in front of `endpoint_url`; gives the address, and counts: requests, and those that failed."""
    chance = random.Random(seed)
    counts = [0, 0]
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            counts[0] += 1
            if chance.random() < share:
                counts[1] += 1
                return await _fail(request, reset=chance.random() < 0.5)
            return await _pass_on(session, endpoint_url, request)

        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", counts
        await runner.cleanup()


async def _fail(request: web.BaseRequest, *, reset: bool) -> web.StreamResponse:
    await request.read()
    if reset and request.transport is not None:
        request.transport.abort()
    return web.Response(status=503, text=SLOW_DOWN, content_type="application/xml")


async def _pass_on(session: aiohttp.ClientSession, endpoint_url: str, request: web.BaseRequest) -> web.StreamResponse:
    body = await request.read()
    async with session.request(
        request.method, endpoint_url + request.raw_path, headers=request.headers, data=body or None
    ) as answer:
        left_out = LEFT_OUT - {"content-length"} if request.method == "HEAD" else LEFT_OUT
        headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in left_out]
        return web.Response(status=answer.status, headers=headers, body=await answer.read() or None)
