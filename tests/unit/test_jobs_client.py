"""A connection to Redis that was closed under us is an error of the connection, whatever the loop says of it."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.jobs.client import SMALL, direct


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def write_to_closed(kind: type[Connection]) -> None:
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    connection = kind(socket_timeout=1)
    connection._reader, connection._writer = reader, writer
    writer.transport.abort()
    await asyncio.sleep(0.01)
    try:
        await connection.send_packed_command(b"PING", check_health=False)
    finally:
        server.close()


def test_uvloop_says_something_of_its_own_without_ours() -> None:
    with pytest.raises(RuntimeError, match="the handler is closed"):
        uvloop.run(write_to_closed(Connection))


def test_a_closed_connection_is_an_error_of_the_connection() -> None:
    with pytest.raises(RedisConnectionError):
        uvloop.run(write_to_closed(direct(Connection)))  # type: ignore[arg-type]


async def send_while_nobody_reads(size: int) -> None:
    """Send a command of so many bytes; a server that accepts connections and reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = direct(Connection)(socket_timeout=0.2)
        host, port = server.getsockname()
        connection._reader, connection._writer = await asyncio.open_connection(host, port)
        try:
            await connection.send_packed_command([b"x" * size], check_health=False)
        finally:
            await connection.disconnect(nowait=True)


def test_what_is_large_is_waited_for_and_not_longer_than_the_time_out() -> None:
    asyncio.run(send_while_nobody_reads(SMALL))
    with pytest.raises(RedisTimeoutError):
        asyncio.run(send_while_nobody_reads(64 * 1024 * 1024))
