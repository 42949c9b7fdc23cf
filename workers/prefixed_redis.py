"""ARQ's client with REDIS_PREFIX before every key: ARQ's own key names are constants.

Only the commands that ARQ's worker sends are known; any other one is refused, so that no key is ever meant wrongly.
"""

from __future__ import annotations

from typing import Any

from arq.connections import ArqRedis
from redis.asyncio.client import Pipeline

SORTED_SETS = frozenset(["ZADD", "ZCARD", "ZSCORE", "ZREM", "ZRANGE", "ZRANGEBYSCORE", "ZREMRANGEBYSCORE"])
KEY_FIRST = SORTED_SETS | {"GET", "SET", "SETEX", "PSETEX", "INCRBY", "EXPIRE"}
KEYS_ALONE = frozenset(["WATCH", "EXISTS", "DEL"])
WITHOUT_KEYS = frozenset(["INFO", "DBSIZE", "PING", "UNWATCH"])


def prefixed(prefix: str, command: tuple[Any, ...]) -> tuple[Any, ...]:
    """The command on the keys of the prefix.

    >>> prefixed("shop:", ("DEL", "a", b"b")), prefixed("shop:", ("ZREM", "queue", "id"))
    (('DEL', 'shop:a', 'shop:b'), ('ZREM', 'shop:queue', 'id'))

    Raises:
        ValueError: ARQ has begun to use a command whose keys are not known here.
    """
    name = str(command[0]).upper()
    if name in WITHOUT_KEYS:
        return command
    if name in KEY_FIRST:
        return (command[0], _key(prefix, command[1]), *command[2:])
    if name in KEYS_ALONE:
        return (command[0], *(_key(prefix, key) for key in command[1:]))
    raise ValueError(f"{name} cannot be used with REDIS_PREFIX under arq: use `promidata-sync worker`")


def _key(prefix: str, key: str | bytes) -> str:
    return prefix + (key.decode() if isinstance(key, bytes) else key)


class PrefixedPipeline(Pipeline):
    """A pipeline on the keys of a prefix."""

    prefix = ""

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Send or note a command."""
        return super().execute_command(*prefixed(self.prefix, args), **kwargs)


class PrefixedRedis(ArqRedis):
    """ARQ's client on the keys of a prefix."""

    prefix = ""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command."""
        return await super().execute_command(*prefixed(self.prefix, args), **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> PrefixedPipeline:
        """A pipeline on the same keys."""
        pipe = PrefixedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.prefix = self.prefix
        return pipe
