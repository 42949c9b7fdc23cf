"""An idle worker's ear: it blocks on the queue's marker, and has what it leased with the wake-up.

    thirsty ─▶ wait for the marker, and lease what there is room for ─▶ heard: kept for the next round, which is now

Only while there is room: a marker eaten by a full worker is lost time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from app.errors import QueueUnavailable
from app.failpoints import reach
from app.jobs.definitions import QueueName
from app.jobs.queue import RedisQueue

BLOCK_S = 2
PAUSE_S = 1.0
"""Between two tries while Redis is away."""
ON_ITS_WAY_S = 0.5
"""For so long what Redis has leased already is waited for."""
FRESH = 0.5
"""Of a lease's time: what was asked for longer ago is not begun. A wait takes half of that at most."""


class Listener:
    """Of one worker. `heard` is called when there is a reason for a round."""

    def __init__(
        self, queue: RedisQueue, name: QueueName, worker_id: str, *, lease_ms: int, heard: Callable[[], None]
    ) -> None:
        self._queue, self._name, self._worker_id = queue, name, worker_id
        self._lease_ms, self._heard = lease_ms, heard
        self._wait_s = min(BLOCK_S, lease_ms / 1000 * FRESH / 2)
        self._thirsty, self._answered = asyncio.Event(), asyncio.Event()
        self._leased: list[str] = []
        self._asked_at = 0.0
        self._may_lease = False

    def listen_only_if(self, wanted: bool) -> None:
        """Whether to listen from now on; a wait that has begun goes on."""
        if wanted:
            self._thirsty.set()
        else:
            self._thirsty.clear()

    def room_is_kept(self, kept: bool) -> None:
        """Whether the last exchange left room, or may have, for what comes with a wake-up."""
        self._may_lease = kept

    def take(self) -> tuple[list[str], bool]:
        """What was leased with a wake-up and is in nobody's hands yet, and whether the lease is as good as new.

        A process that stood still finds it long after; by now others may have it.
        """
        leased, self._leased = self._leased, []
        return leased, time.monotonic() - self._asked_at < self._lease_ms / 1000 * FRESH

    async def run(self) -> None:
        """Listen whenever that is wanted, until cancelled."""
        while True:
            await self._thirsty.wait()
            try:
                await self._listen()
            except QueueUnavailable:
                await asyncio.sleep(PAUSE_S)

    async def lease_nothing(self) -> None:
        """Lease nothing more with a wake-up; what was leased is there to be taken when this returns.

        Where Redis does not answer soon, what it leases now comes back when the lease runs out.
        """
        self._answered.clear()
        with suppress(TimeoutError, QueueUnavailable):
            async with asyncio.timeout(ON_ITS_WAY_S):
                if self._may_lease and not await self._queue.keep_no_room(self._worker_id) and not self._leased:
                    await self._answered.wait()  # where the room was kept for too long ago, nothing comes
        self._may_lease = False

    async def _listen(self) -> None:
        asked_at = time.monotonic()
        got = await self._queue.listen(self._name, self._worker_id, lease_ms=self._lease_ms, wait_s=self._wait_s)
        if got is None:
            return
        self._thirsty.clear()
        if got.ids:
            reach(f"listen.{self._name}:after")
            self._leased += got.ids
            self._asked_at, self._may_lease = asked_at, False
        self._answered.set()
        self._heard()
