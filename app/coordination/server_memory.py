"""How much room Redis has and what it does without any, where it may be asked.

INFO is one of the commands that a managed Redis may forbid, and the product needs it nowhere: then nothing is known.
"""

from __future__ import annotations

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.coordination.faults import told_as_outage

KEEPS_ALL = "noeviction"
NEARLY_FULL = 0.9


class RedisMemory(msgspec.Struct, frozen=True):
    """What INFO says of the memory."""

    policy: str
    used_bytes: int
    most_bytes: int
    """0 where there is no limit."""

    @property
    def evicts(self) -> bool:
        """Whether it throws keys away when it is full, in place of refusing to write."""
        return self.policy != KEEPS_ALL

    @property
    def nearly_full(self) -> bool:
        """Whether there is little room left."""
        return 0 < self.most_bytes * NEARLY_FULL < self.used_bytes


async def redis_memory(redis: Redis) -> RedisMemory | None:
    """Ask the server; None when it does not tell.

    Raises:
        QueueUnavailable: it is away.
    """
    with told_as_outage("say how much memory it has"):
        try:
            answer = await redis.info("memory")
        except ResponseError:
            return None
    if "maxmemory_policy" not in answer:
        return None
    return RedisMemory(answer["maxmemory_policy"], int(answer["used_memory"]), int(answer.get("maxmemory", 0)))
