"""The API as a process of its own, on a measurement's ground."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from bench.ground import READY_WITHIN_S, Ground, Process, spawn, until


@asynccontextmanager
async def serving_api(ground: Ground) -> AsyncIterator[tuple[str, Process]]:
    """Give its address and its process, once it answers."""
    port = _free_port()
    process = spawn("api", ["app.cli.main", "api"], {**ground.env, "PORT": str(port)})
    base = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as http, asyncio.timeout(READY_WITHIN_S):
            await until(lambda: _is_alive(http, base))
        yield base, process
    finally:
        process.stop()


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


async def _is_alive(http: httpx.AsyncClient, base: str) -> bool:
    try:
        return (await http.get(f"{base}/healthz")).is_success
    except httpx.TransportError:
        return False
