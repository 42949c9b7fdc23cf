"""redis-py's client, whose calls end when they are cancelled, on connections that say so when they are closed."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from app.outages import end_if_cancelled


class CancellableRedis(Redis):
    """redis-py's client, for tasks that somebody waits for after cancelling them.

    redis-py sends through `asyncio.wait_for`, which before Python 3.12 returns normally in place of a cancellation that
    reaches it in the moment in which all is sent (cpython gh-86296): one in thirty of an idle worker's chores went on,
    and the worker waited for it instead of ending.
    """

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its answer, which is read to its end also when the task was cancelled."""
        answer = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        end_if_cancelled()
        return answer


def saying_closed(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """A kind of connection for which writing to a closed one is an error of the connection, on uvloop too.

    uvloop raises a RuntimeError where asyncio's own loop drops what is written: a Redis that went away between
    connecting and the first command ended the worker.
    """

    class SayingClosed(kind):  # type: ignore[misc, valid-type]
        async def send_packed_command(self, *args: Any, **options: Any) -> None:
            try:
                await super().send_packed_command(*args, **options)
            except RuntimeError as error:
                if not is_closed_handle(error):
                    raise
                raise RedisConnectionError("Connection closed by server.") from error

    return SayingClosed


def is_closed_handle(error: RuntimeError) -> bool:
    """Whether it is what uvloop says of writing to a connection that is closed."""
    return "the handler is closed" in str(error)
