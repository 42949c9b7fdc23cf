"""The dispatch: messages to workers through Redis, on ARQ's data model, in few round trips.

The ledger is the truth; what stands here may vanish at any time. A message carries a job's id and nothing else that a
worker would believe. `RedisQueue` is the API's and the workers' way to Redis; a stock `arq` worker reads the same keys.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import msgspec
from arq.jobs import serialize_job
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)

from app.errors import QueueUnavailable, SettingsError
from app.failpoints import reach
from app.jobs import scripts
from app.logs import mask_address

T = TypeVar("T")

PAYLOAD_TTL_MS = 14 * 24 * 3600 * 1000
"""How long ARQ's payload key lives; a queue that was paused for longer is sent again by the reconciler."""
CHUNK = 1_000
"""Messages a script call, so that no call holds Redis for long."""
FUNCTIONS = {"supplier-sync": "sync_supplier", "product-family": "write_family", "image-upload": "settle_image"}
"""Queue to the name of the function that a stock ARQ worker registers."""


REFUSING = (OutOfMemoryError, ReadOnlyError, MasterDownError)
"""redis-py takes the code off the message of these."""


class Message(msgspec.Struct, frozen=True):
    """A job to be dispatched; `wait_ms` None means that it may run now, in its run's turn."""

    job_id: str
    queue: str
    run_id: str
    wait_ms: int | None = None


class Queue(Protocol):
    """Where a stage sends the jobs that it committed. Redis, or the inline runner of a direct sync."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Tell whoever works on these; the ledger already holds them, so a failure costs time and nothing else."""


class Exchanged(msgspec.Struct, frozen=True):
    """What an exchange with Redis brought."""

    ids: list[str]
    next_ms: int | None
    """Milliseconds until something may be ready; None when the queue is empty."""


def pack(value: Any) -> bytes:
    """ARQ's serializer: msgpack, never pickle."""
    return msgspec.msgpack.encode(value)


def unpack(value: bytes) -> dict[str, Any]:
    """ARQ's deserializer."""
    return msgspec.msgpack.decode(value, type=dict[str, Any])


def wake_key(queue: str) -> str:
    """The marker that idle workers of a queue block on."""
    return f"{queue}:wake"


def marker_key(queue: str) -> str:
    """Gone when Redis was emptied: everything open in the queue is then sent again at once."""
    return f"{queue}:marker"


class RedisQueue:
    """Redis as dispatch. One per process; safe to share between tasks."""

    def __init__(self, url: str, *, connect_timeout_s: float = 5.0, answer_timeout_s: float = 5.0) -> None:
        """Prepare the pool; nothing connects until the first use."""
        self._shown = mask_address(url)
        self.redis: Redis = Redis.from_url(
            url,
            socket_connect_timeout=connect_timeout_s,
            socket_timeout=answer_timeout_s,
            socket_keepalive=True,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[RedisConnectionError],
        )
        self._send: AsyncScript = self.redis.register_script(scripts.SEND)
        self._exchange: AsyncScript = self.redis.register_script(scripts.EXCHANGE)
        self._known: AsyncScript = self.redis.register_script(scripts.KNOWN)

    async def send(self, messages: Sequence[Message]) -> None:
        """Dispatch messages, a thousand a round trip; those that Redis knows already are left alone.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        async with self._translated():
            for queue, alike in _alike(messages):
                for start in range(0, len(alike), CHUNK):
                    await self._send_chunk(queue, alike[start : start + CHUNK])

    async def _send_chunk(self, queue: str, messages: Sequence[Message]) -> None:
        reach(f"send.{queue}:before")
        await self._send(keys=[queue, wake_key(queue), f"{queue}:fair"], args=_send_args(messages))
        reach(f"send.{queue}:after")

    async def exchange(
        self, queue: str, token: str, *, lease_ms: int, room: int, done: Sequence[str], again: Sequence[tuple[str, int]]
    ) -> Exchanged:
        """Hand over what ended (`done`) or waits (`again`: id and ms), and lease up to `room` jobs.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        waits = [str(part) for pair in again for part in pair]
        async with self._translated():
            ids, next_ms = await self._exchange(
                keys=[queue, wake_key(queue)], args=[token, lease_ms, room, len(done), *done, *waits]
            )
        return Exchanged([_text(job_id) for job_id in ids], None if next_ms < 0 else int(next_ms))

    async def unknown(self, queue: str, ids: Sequence[str]) -> list[str]:
        """Which of these ids Redis neither queues nor leases.

        Raises:
            QueueUnavailable: Redis is away.
        """
        async with self._translated():
            return [_text(job_id) for job_id in await self._known(keys=[queue], args=list(ids))]

    async def length(self, queue: str) -> int:
        """How many jobs of the queue Redis knows, running ones among them.

        Raises:
            QueueUnavailable: Redis is away.
        """
        async with self._translated():
            return int(await self.redis.zcard(queue))

    async def set_marker(self, queue: str) -> bool:
        """Set the marker of a Redis that holds the queue's messages; True when it was missing.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        async with self._translated():
            return bool(await self.redis.set(marker_key(queue), "1", nx=True))

    async def wake(self, queue: str) -> None:
        """Wake an idle worker of the queue.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        async with self._translated():
            await self.redis.zadd(wake_key(queue), {"w": 0})

    async def check(self) -> None:
        """Ask whether Redis is there and takes writes.

        Raises:
            QueueUnavailable: it does not, with its address and what to do.
        """
        async with self._translated():
            await self.redis.set("promidata:check", "1", px=1000)

    async def try_commands(self) -> None:
        """Run each command that we need once, on keys of no consequence, so that a missing one is known at the start.

        Raises:
            SettingsError: the user of REDIS_URL may not run a command, or the server does not have it; names it.
            QueueUnavailable: Redis is away.
        """
        name = f"promidata:try:{uuid4().hex}"
        try:
            await self._try_queue(name)
            await self._try_plain(name)
        except ResponseError as error:
            if not _is_missing(error):
                raise QueueUnavailable(f"Redis at {self._shown}: {_advice(error)}") from error
            raise SettingsError(f"Redis at {self._shown}: {_advice(error)}") from error
        except (RedisError, OSError) as error:
            raise QueueUnavailable(f"Redis at {self._shown}: {_advice(error)}") from error

    async def _try_queue(self, name: str) -> None:
        await self._send(keys=[name, wake_key(name), f"{name}:fair"], args=[1000, name, name, name, "-"])
        await self._exchange(keys=[name, wake_key(name)], args=[name, 1000, 1, 0])
        await self._known(keys=[name], args=[name])
        await self._exchange(keys=[name, wake_key(name)], args=[name, 1000, 0, 1, name])
        await self.redis.zadd(wake_key(name), {"w": 0})
        await self.redis.bzpopmin([wake_key(name)], timeout=1)

    async def _try_plain(self, name: str) -> None:
        await self.redis.set(name, "1", nx=True, px=1000)
        await self.redis.mget([name])
        await self.redis.zrange(wake_key(name), 0, -1)
        await self.redis.zcard(wake_key(name))
        await self.redis.expire(name, 1)
        await self.redis.delete(name, f"{name}:fair", wake_key(name))

    async def close(self) -> None:
        """Close the pool."""
        await self.redis.aclose()

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            raise QueueUnavailable(f"Redis at {self._shown}: {_advice(error)}") from error


def _alike(messages: Sequence[Message]) -> Iterable[tuple[str, list[Message]]]:
    """Messages by queue, those whose ids are of one length together, in their order."""
    groups: dict[tuple[str, int], list[Message]] = {}
    for message in messages:
        groups.setdefault((message.queue, len(message.job_id.encode())), []).append(message)
    return [(queue, alike) for (queue, _), alike in groups.items()]


def _send_args(messages: Sequence[Message]) -> list[str | bytes | int]:
    """The script's arguments for messages of one queue whose ids are of one length."""
    first = messages[0]
    return [
        PAYLOAD_TTL_MS,
        serialize_job(FUNCTIONS[first.queue], (first.job_id,), {}, None, 0, serializer=pack),
        "\n".join(message.job_id for message in messages),
        "\n".join(message.run_id for message in messages),
        "\n".join("-" if message.wait_ms is None else str(message.wait_ms) for message in messages),
    ]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _is_missing(error: ResponseError) -> bool:
    """Whether a command may not be run or is not there, also where a script ran into it."""
    text = str(error).lower()
    return isinstance(error, NoPermissionError) or "no permissions" in text or "unknown" in text


def _advice(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, AuthenticationError) or "NOAUTH" in text or "WRONGPASS" in text:
        return f"{text}; put the user and password into REDIS_URL (redis://user:password@host:6379/0)"
    if isinstance(error, ResponseError) and _is_missing(error):
        return f"{text}; the server must have this command, and the user of REDIS_URL be allowed it"
    if isinstance(error, BusyLoadingError):
        return "it is loading its data; this passes by itself"
    if isinstance(error, REFUSING) or text.startswith(("OOM", "MISCONF", "READONLY", "MASTERDOWN")):
        return f"it refuses writes ({text})"
    return f"{text}; is it running, and is REDIS_URL right?"
