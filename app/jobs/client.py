"""redis-py's client, whose calls end when they are cancelled, and its connections, which send at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from app.errors import SettingsError
from app.jobs.redis_pool import ShrinkingRedisPool
from app.outages import end_if_cancelled

SMALL = 32 * 1024
"""Bytes of a command that an empty transport takes without a pause: half of asyncio's limit."""

FILES = ("ca_certs", "certfile", "keyfile")
"""What TLS is done with, as redis-py's parameters name it behind `ssl_`."""

BROKEN = (OSError, RuntimeError, AttributeError, TypeError)
"""What writing to a connection raises that is gone: uvloop a RuntimeError, and asyncio's own loop, in some Pythons, one
of the last two for a connection that was reset (cpython gh-136234)."""


def prepare_client(url: str, **options: Any) -> CancellableRedis:
    """A client that is not connected yet.

    Raises:
        SettingsError: `url` has a parameter that is not known, or with a value that makes no sense.
    """
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    try:
        pool = ShrinkingRedisPool.from_url(
            url,
            **options,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[RedisConnectionError],
        )
        pool.connection_class = direct(pool.connection_class)
        # looks at the parameters, from_url does not
        _try_tls(pool.make_connection())  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, RedisError):  # their words may hold a password
        raise SettingsError(
            "REDIS_URL: a parameter behind the ? is not known, or its value makes no sense; "
            "none is needed, and redis://user:password@host:6379/0 is enough"
        ) from None
    return cast("CancellableRedis", CancellableRedis.from_pool(pool))


def _try_tls(connection: AbstractConnection) -> None:
    """Make what TLS is done with: redis-py does so when it connects, and takes a wrong parameter for an outage.

    Raises:
        SettingsError: a file that is named cannot be used.
        ValueError, TypeError: another value makes no sense.
    """
    if not isinstance(connection, SSLConnection):
        return
    try:
        connection.ssl_context.get()
    except OSError as error:  # ssl's errors, too
        files = [f"ssl_{name}" for name in FILES if getattr(connection.ssl_context, name)]
        if not files:
            raise ValueError from error
        named = " or ".join(files)
        raise SettingsError(f"REDIS_URL: what {named} names cannot be used ({error.strerror})") from None


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

    async def both(self, first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
        """Send two commands in one go and return their answers as they came; what Redis refused is its error.

        As a pipeline of redis-py's without what it is for beside that, which is half of what runs between the wake-up
        of an idle worker and its claim.
        """
        pool: Any = self.connection_pool
        connection = await pool.get_connection()

        async def ask() -> list[Any]:
            await connection.send_packed_command(connection.pack_commands([first, second]))
            return [await _answer(connection), await _answer(connection)]

        try:
            answers: list[Any] = await connection.retry.call_with_retry(
                ask, partial(self._disconnect_raise, connection)
            )
        finally:
            await pool.release(connection)
        end_if_cancelled()
        return answers

    def register_script(self, script: Any) -> Any:
        """A script, to be called with its keys and arguments."""
        return Script(self, script)


class Script(AsyncScript):
    """A script that is sent as the command that it is: redis-py first looks whether its client is a pipeline."""

    async def __call__(
        self, keys: Sequence[Any] | None = None, args: Iterable[Any] | None = None, client: Redis | None = None
    ) -> Any:
        """Run it by its hash; a server that does not know it is sent its text first."""
        to: Any = client or self.registered_client
        command = ("EVALSHA", self.sha, len(keys or ()), *(keys or ()), *(args or ()))
        try:
            return await to.execute_command(*command)
        except NoScriptError:
            await to.script_load(self.script)
            return await to.execute_command(*command)


def direct(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """A kind of connection that sends what is small without waiting, and for which a closed one is an error of it.

    redis-py waits with a time-out, a tenth of a call's time, until the transport has room again, also where it has not
    run out of it; a connection has one command at a time. Commands are put together by hiredis, as where redis-py is
    not asynchronous: in Python that is a third of what a script's call runs through. And where asyncio's own loop drops
    what is written to a closed connection, uvloop raises a RuntimeError: a Redis that went away between connecting and
    the first command ended the worker.
    """
    hiredis = HiredisRespSerializer()

    class Direct(kind):  # type: ignore[misc, valid-type]
        def pack_command(self, *args: Any) -> Any:
            return hiredis.pack(*args)

        async def on_connect(self) -> None:
            # its health is not asked yet: with nobody to answer, each PING would connect anew, for ever
            self.next_health_check = asyncio.get_running_loop().time() + self.health_check_interval
            await super().on_connect()

        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            is_small = self.is_connected and _is_small(command)
            if is_small and check_health:
                await self.check_health()
            try:
                if is_small:
                    self._writer.writelines(command)
                else:
                    await super().send_packed_command(command, check_health)
            except BROKEN as error:
                await self.disconnect(nowait=True)
                raise RedisConnectionError(f"Connection closed by server ({error})") from error

    return Direct


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refused:
        return refused


def _is_small(command: Any) -> bool:
    return isinstance(command, list) and sum(map(len, command)) <= SMALL
