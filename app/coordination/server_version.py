"""Which Redis this is, without INFO, which a managed one may forbid.

HELLO (since 6.0) names the server and its version ─▶ not allowed: does it know a command that came with 6.2?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from app.coordination.faults import told_as_outage
from app.redis_keys import DEFAULT_KEYS, RedisKeys

OLDEST = (6, 2)
"""What the dispatch's scripts need."""


class RedisVersion(msgspec.Struct, frozen=True):
    """What is known of the server."""

    shown: str
    fits: bool


async def redis_version(redis: Redis, keys: RedisKeys = DEFAULT_KEYS) -> RedisVersion:
    """Ask the server.

    Raises:
        QueueUnavailable: it is away.
    """
    with told_as_outage("say its version"):
        return await _ask_version(redis, keys)


async def _ask_version(redis: Redis, keys: RedisKeys) -> RedisVersion:
    try:
        answer = _pairs(await redis.execute_command("HELLO"))  # type: ignore[no-untyped-call]
    except NoPermissionError:
        return await _by_ability(redis, keys)
    except ResponseError:
        return RedisVersion("older than 6.0", fits=False)
    name, number = str(answer.get("server", "redis")), str(answer.get("version", ""))
    return RedisVersion(f"{name} {number}", fits=_numbers(number) >= OLDEST)


async def _by_ability(redis: Redis, keys: RedisKeys) -> RedisVersion:
    try:
        await redis.execute_command("GETDEL", keys.check)  # type: ignore[no-untyped-call]
    except NoPermissionError:
        return RedisVersion("version not told", fits=True)
    except ResponseError:
        return RedisVersion("older than 6.2", fits=False)
    return RedisVersion("6.2 or newer", fits=True)


def _pairs(answer: Mapping[Any, Any] | Sequence[Any]) -> dict[str, Any]:
    """The answer as a dictionary; in RESP2 it is a flat list."""
    flat = answer.items() if isinstance(answer, Mapping) else zip(answer[::2], answer[1::2], strict=True)
    return {_text(key): _text(value) for key, value in flat}


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: `7.4.1-rc1` is (7, 4, 1)."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
