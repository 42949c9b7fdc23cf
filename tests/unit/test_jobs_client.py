"""A connection to Redis that was closed under us is an error of the connection, whatever the loop says of it."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from app.jobs.client import saying_closed


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
        uvloop.run(write_to_closed(saying_closed(Connection)))  # type: ignore[arg-type]
