"""A connection to Redis that somebody in between broke or spoke on is not used again, and none waits for ever."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from app.errors import QueueUnavailable
from app.jobs.queue import RedisQueue
from tests.support.listening import listening

LOOPS: list[Callable[[Coroutine[Any, Any, None]], None]] = [asyncio.run, uvloop.run]
Answer = Callable[[asyncio.StreamWriter, list[bytes]], None]


class Server:
    """Speaks as much of Redis's protocol as it takes; `answer` writes the answer to a command."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.clients: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[RedisQueue]:
        """A queue on it."""
        async with listening(self._serve) as port:
            queue = RedisQueue(f"redis://127.0.0.1:{port}", answer_timeout_s=0.3)
            try:
                yield queue
            finally:
                await queue.close()
                for client in self.clients:
                    client.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer)
        while head := await reader.readline():
            parts = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                parts.append((await reader.readexactly(size + 2))[:-2])
            self._answer(writer, parts)


def count(writer: asyncio.StreamWriter, parts: list[bytes]) -> None:
    """Of ZCARD the number in its key's name, of all else OK."""
    writer.write(b":%d\r\n" % int(parts[1].rpartition(b":")[2]) if parts[0] == b"ZCARD" else b"+OK\r\n")


def keep_silent(_: asyncio.StreamWriter, __: list[bytes]) -> None:
    """Answer nothing."""


def count_and_say_more(writer: asyncio.StreamWriter, parts: list[bytes]) -> None:
    """The same, and to the first one something more, at once."""
    is_first = parts[0] == b"ZCARD" and parts[1].endswith(b":0")
    writer.writelines([b":0\r\n:99\r\n"]) if is_first else count(writer, parts)


def speak(client: asyncio.StreamWriter) -> None:
    client.write(b":99\r\n")


def speak_and_end(client: asyncio.StreamWriter) -> None:
    client.write(b"-ERR the proxy goes away\r\n")
    client.close()


def end(client: asyncio.StreamWriter) -> None:
    client.close()


def reset(client: asyncio.StreamWriter) -> None:
    client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.transport.abort()


def do_nothing(_: asyncio.StreamWriter) -> None:
    pass


async def ask_before_and_after(what: Callable[[asyncio.StreamWriter], None], answer: Answer) -> None:
    server = Server(answer)
    async with server.listening() as queue:
        assert await queue.length("0") == 0
        what(server.clients[-1])
        await asyncio.sleep(0.05)
        assert [await queue.length(str(number)) for number in range(1, 5)] == [1, 2, 3, 4]


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize(
    ("what", "answer"),
    [
        (speak, count),
        (speak_and_end, count),
        (end, count),
        (reset, count),
        (do_nothing, count_and_say_more),
    ],
)
def test_nobody_notices_what_happened_between_two_commands(
    run: Callable[[Coroutine[Any, Any, None]], None], what: Callable[[asyncio.StreamWriter], None], answer: Answer
) -> None:
    run(ask_before_and_after(what, answer))


async def ask_nobody() -> None:
    """Forty at once: one after the other they would wait for twelve seconds."""
    async with asyncio.timeout(5), Server(keep_silent).listening() as queue:
        answers = await asyncio.gather(*(queue.length("1") for _ in range(40)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {QueueUnavailable}


@pytest.mark.parametrize("run", LOOPS)
def test_a_redis_that_accepts_and_never_answers_is_away(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    run(ask_nobody())
