"""The trial at the start: each command that we need, once, on the keys that are really used, and nothing changes by it.

A user whose ACL leaves out a key or a command is then an error at once, not a sync that stays queued.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from app.errors import QueueUnavailable, SettingsError
from app.jobs.redis_errors import advice, is_misfit, is_refused_key
from app.redis_keys import QUEUE_NAMES, RedisKeys


class Trial:
    """One attempt. `shown` is the address without its secrets."""

    def __init__(self, redis: Redis, keys: RedisKeys, shown: str) -> None:
        self._redis, self._keys, self._shown = redis, keys, shown
        self._nobody = f"try-{uuid4().hex}"
        """Names a job, run and worker that do not exist."""

    async def keys(self) -> None:
        """Touch each kind of key; what is there stays as it is.

        Raises:
            SettingsError: the user may not touch one; names it and what to grant.
            QueueUnavailable: Redis is away.
        """
        keys, redis, nobody = self._keys, self._redis, self._nobody
        touches: list[tuple[str, Callable[[str], Any]]] = []
        for name in QUEUE_NAMES:
            touches += [
                (keys.queue(name), lambda key: redis.zrem(key, nobody)),
                (keys.queue(name), lambda key: redis.zscore(key, nobody)),
                (keys.wake(name), lambda key: redis.zrem(key, nobody)),
                (keys.fair(name), lambda key: redis.hdel(key, nobody)),
                (keys.marker(name), lambda key: redis.set(key, "1", xx=True)),
            ]
        touches += [(named, self._write_once) for named in (keys.job(nobody), keys.held(nobody), keys.retry(nobody))]
        touches += [
            (keys.workers, lambda key: redis.zrem(key, nobody)),
            (keys.worker(nobody), self._write_once),
            (keys.room(nobody), self._write_once),
            (keys.budget(nobody), lambda key: redis.hdel(key, nobody)),
            (keys.shares(nobody), lambda key: redis.hdel(key, nobody)),
            (keys.check, self._write_once),
            (keys.installation, redis.get),
            (keys.schema, redis.get),
        ]
        for key, touch in touches:
            async with self._telling(key):
                await touch(key)

    async def commands(self, send: AsyncScript, exchange: AsyncScript, known: AsyncScript) -> None:
        """Run what the dispatch runs, in a queue that nobody works on.

        Raises:
            SettingsError: a command is missing, or the user may not run it; names it.
            QueueUnavailable: Redis is away.
        """
        name, nobody = self._keys.check + f":{self._nobody}", self._nobody
        wake, fair, room = f"{name}:wake", f"{name}:fair", f"{name}:room"
        async with self._telling(name):
            await send(keys=[name, wake, fair], args=[1000, nobody, nobody, nobody, "-"])
            await exchange(keys=[name, wake, room], args=[nobody, 1000, 1, 1000, 0])
            await known(keys=[name], args=[nobody])
            await exchange(keys=[name, wake, room], args=[nobody, 1000, 0, 1000, 1, nobody])
            await self._redis.zadd(wake, {"w": 0})
            await self._redis.bzpopmin([wake], timeout=1)
            await self._redis.mget([name])
            await self._redis.zrange(wake, 0, -1)
            await self._redis.zcard(wake)
            await self._redis.time()
            await self._redis.expire(name, 1)
            await self._redis.delete(name, fair, wake, room)

    async def _write_once(self, key: str) -> None:
        await self._redis.set(key, "1", px=1000)

    @asynccontextmanager
    async def _telling(self, key: str) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            told = f"Redis at {self._shown}: {advice(error, self._keys)}"
            if is_refused_key(error):
                told = (
                    f"Redis at {self._shown}: the user of REDIS_URL may not use the key {key}: grant it "
                    f"{' '.join(self._keys.patterns)} (ACL SETUSER), or set REDIS_PREFIX to what it may use"
                )
            raise (SettingsError if is_misfit(error) else QueueUnavailable)(told) from error
