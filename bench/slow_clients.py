"""Many slow clients of one server at a time: a program of its own, with descriptors of its own.

    python -m bench.slow_clients PORT COUNT    a line when all have connected, on until its input ends, what came of it

In turn: one that reads an export a kilobyte at a time, one that sends its request byte by byte, one that asks once and
then keeps the connection idle. Who is closed, or told to come again, does so after ten seconds.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

EXPORT = b"GET /api/v1/products HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/x-ndjson\r\n\r\n"
IDLE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HALF = b"POST /api/v1/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n" + b" " * 500
STEP_S, AGAIN_AFTER_S, OPENED_AFTER_S = 0.5, 10.0, 0.002
SMALL = 4096
"""The receive buffer: with the system's own a whole small export would lie in it."""
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Counter[str]], Awaitable[None]]


async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Counter[str]) -> None:
    """Ask for everything, and take a kilobyte now and then."""
    writer.write(EXPORT)
    status = (await reader.readline()).split()[1:2]
    seen[f"exports answered {status[0].decode()}" if status else "exports unanswered"] += 1
    while await reader.read(1024):  # noqa: ASYNC110  nothing else is waited for
        await asyncio.sleep(STEP_S)


async def write_slowly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Counter[str]) -> None:
    """Send a request byte by byte."""
    for byte in HALF:
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(STEP_S)
    seen["half requests that came to an end"] += 1


async def stay_idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Counter[str]) -> None:
    """Ask once, and keep the connection."""
    writer.write(IDLE)
    status = (await reader.readline()).split()[1:2]
    seen[f"idle ones answered {status[0].decode()}" if status else "idle ones unanswered"] += 1
    while await reader.read(1024):
        pass


KINDS: tuple[Client, ...] = (read_slowly, write_slowly, stay_idle)


async def main(port: int, count: int) -> None:
    """Hold `count` clients until the input ends, and tell what came of them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    seen: Counter[str] = Counter()
    clients = []
    for number in range(count):
        clients.append(asyncio.create_task(_again_and_again(port, KINDS[number % len(KINDS)], seen)))
        await asyncio.sleep(OPENED_AFTER_S)
    print(count, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for client in clients:
        client.cancel()
    await asyncio.wait(clients)
    print(json.dumps(seen), flush=True)


async def _again_and_again(port: int, client: Client, seen: Counter[str]) -> None:
    while True:
        try:
            await _once(port, client, seen)
        except OSError as error:
            seen[f"closed: {type(error).__name__}"] += 1
        await asyncio.sleep(AGAIN_AFTER_S)


async def _once(port: int, client: Client, seen: Counter[str]) -> None:
    opened = socket.socket()
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=opened, limit=SMALL)
    except BaseException:
        opened.close()
        raise
    try:
        seen["opened"] += 1
        await client(reader, writer, seen)
    finally:
        writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
