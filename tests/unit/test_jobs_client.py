"""A connection to Redis that was closed under us is an error of the connection, whatever the loop says of it."""

from __future__ import annotations

import asyncio
import socket
from unittest.mock import Mock

import pytest
import uvloop
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.jobs.client import SMALL, direct


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def write_to_closed(kind: type[Connection], command: bytes | list[bytes]) -> None:
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    connection = kind(socket_timeout=1)
    connection._reader, connection._writer = reader, writer
    writer.transport.abort()
    await asyncio.sleep(0.01)
    try:
        await connection.send_packed_command(command, check_health=False)
    finally:
        server.close()


def test_a_command_is_the_bytes_that_redis_py_would_send() -> None:
    command = ("BZPOPMIN", "Größe", b"\x00\xff", 2**40, -1, 0.2, 1e-7, "")
    ours, theirs = direct(Connection)().pack_command(*command), Connection().pack_command(*command)
    assert b"".join(ours) == b"".join(theirs)


def test_uvloop_says_something_of_its_own_without_ours() -> None:
    with pytest.raises(RuntimeError, match="the handler is closed"):
        uvloop.run(write_to_closed(Connection, b"PING"))


@pytest.mark.parametrize("command", [[b"PING"], [b"x" * 2 * SMALL]], ids=["small", "large"])
def test_a_closed_connection_is_an_error_of_the_connection(command: list[bytes]) -> None:
    with pytest.raises(RedisConnectionError):
        uvloop.run(write_to_closed(direct(Connection), command))  # type: ignore[arg-type]


@pytest.mark.parametrize("command", [[b"PING"], [b"x" * 2 * SMALL]], ids=["small", "large"])
@pytest.mark.parametrize("error", [AttributeError, TypeError, OSError])
async def test_what_a_loop_says_of_a_reset_connection_is_one_too_and_it_is_not_kept(
    error: type[Exception], command: list[bytes]
) -> None:
    connection = direct(Connection)(socket_timeout=1)
    reader, writer = Mock(), Mock()
    writer.writelines.side_effect = error("'NoneType' object has no attribute '_add_writer'")
    connection._reader, connection._writer = reader, writer
    with pytest.raises(RedisConnectionError):
        await connection.send_packed_command(command, check_health=False)
    assert not connection.is_connected


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
