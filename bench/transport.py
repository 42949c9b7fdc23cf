"""What a request costs by transport: plain httpx, httpx on aiohttp, aiohttp, and our client on aiohttp.

    server (a process of its own, keep-alive) ◀─ 50 connections ─ each transport in turn ─▶ CPU ms a request

`python -m bench.transport` prints a table. CPU is this process's, user and system, so the server does not count.
"""

from __future__ import annotations

import asyncio
import ipaddress
import multiprocessing
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import httpx
from httpx_aiohttp import HttpxAiohttpClient

from app.outbound import FetchLimits, OutboundClient
from bench.report import Section, Table

CONNECTIONS = 50
REQUESTS = 4_000
BODY_BYTES = (2_000, 200_000)
ROUNDS = 3
Fetch = Callable[[str], Awaitable[int]]
"""Fetches a whole body and gives its length."""


@dataclass(frozen=True)
class Cost:
    """The best of ROUNDS, per request."""

    name: str
    cpu_ms: float
    per_wall_second: float


def measure(*, quick: bool) -> Section:
    """The part `transport`."""
    requests, rounds = (100, 1) if quick else (REQUESTS, ROUNDS)
    section = Section(
        "What a request costs by transport",
        f"{CONNECTIONS} connections, {requests:,} requests, the best of {rounds}; CPU of the client's process.",
    )
    server, port = _start_server()
    try:
        for size in BODY_BYTES:
            costs = asyncio.run(_measure_all(f"http://127.0.0.1:{port}/{size}", size, requests, rounds))
            section.tables.append(_table(size, costs))
    finally:
        server.terminate()
        server.join()
    return section


def _table(size: int, costs: list[Cost]) -> Table:
    rows = [
        [cost.name, f"{cost.cpu_ms:.3f}", f"{1000 / cost.cpu_ms:,.0f}", f"{cost.per_wall_second:,.0f}"]
        for cost in costs
    ]
    return Table(("transport", "CPU ms a request", "a CPU second", "a second"), rows, f"{size:,} bytes a body")


def main() -> None:
    print(measure(quick=False).markdown())


async def _measure_all(url: str, size: int, requests: int, rounds: int) -> list[Cost]:
    costs = []
    for name, transport in TRANSPORTS.items():
        async with transport() as fetch:
            assert await fetch(url) == size
            cpu_s, wall_s = min([await _measure(fetch, url, requests) for _ in range(rounds)])
        costs.append(Cost(name, 1000 * cpu_s / requests, requests / wall_s))
    return costs


async def _measure(fetch: Fetch, url: str, requests: int) -> tuple[float, float]:
    left = iter(range(requests))

    async def worker() -> None:
        for _ in left:
            await fetch(url)

    cpu, wall = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(worker())
    return time.process_time() - cpu, time.perf_counter() - wall


@asynccontextmanager
async def _httpx() -> AsyncIterator[Fetch]:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=CONNECTIONS), trust_env=False) as client:
        yield _fetch_by_httpx(client)


@asynccontextmanager
async def _httpx_on_aiohttp() -> AsyncIterator[Fetch]:
    async with HttpxAiohttpClient(limits=httpx.Limits(max_connections=CONNECTIONS), trust_env=False) as client:
        yield _fetch_by_httpx(client)


def _fetch_by_httpx(client: httpx.AsyncClient) -> Fetch:
    async def fetch(url: str) -> int:
        return len((await client.get(url)).content)

    return fetch


@asynccontextmanager
async def _aiohttp() -> AsyncIterator[Fetch]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def fetch(url: str) -> int:
            async with session.get(url) as answer:
                return len(await answer.read())

        yield fetch


@asynccontextmanager
async def _outbound() -> AsyncIterator[Fetch]:
    limits = FetchLimits(max_bytes=1_000_000)
    async with OutboundClient(allow_private=[ipaddress.ip_network("127.0.0.0/8")]) as client:

        async def fetch(url: str) -> int:
            return len((await client.get(url, limits=limits)).body)

        yield fetch


TRANSPORTS = {
    "httpx": _httpx,
    "httpx on aiohttp": _httpx_on_aiohttp,
    "aiohttp": _aiohttp,
    "OutboundClient on aiohttp": _outbound,
}


def _start_server() -> tuple[multiprocessing.Process, int]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = multiprocessing.Process(target=_serve, args=(listener,), daemon=True)
    server.start()
    return server, listener.getsockname()[1]


class _Answering(asyncio.Protocol):
    """Answers `GET /N` with N bytes; cheap, so that the server is not what is measured."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        size = int(data.split(b" ", 2)[1].strip(b"/"))
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))


def _serve(listener: socket.socket) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Answering, sock=listener)
        await server.serve_forever()

    asyncio.run(run())


if __name__ == "__main__":
    main()
