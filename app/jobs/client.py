"""redis-py's client, whose calls end when they are cancelled."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

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
