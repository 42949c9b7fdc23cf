"""An idle worker's ear: it blocks on the queue's marker, and has what it leased with the wake-up.

    thirsty ─▶ wait for the marker, and lease what there is room for ─▶ heard: kept for the next round, which is now

Only while there is room, or to hear of a resuming: a marker that a full worker ate is set again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from app.errors import QueueUnavailable
from app.failpoints import reach
from app.jobs.definitions import QueueName
from app.jobs.messages import Exchanged
from app.jobs.queue import RedisQueue

BLOCK_S = 2
"""The longest wait for the marker, in seconds; Redis answers a command within five."""
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
        self._next_ms: int | None = None
        self._asked_at = 0.0
        self._is_room_kept = self._may_bring = False
        """`_may_bring`: the wait that is under way could lease something until now."""

    def listen_only_if(self, wanted: bool) -> None:
        """Whether to listen from now on; a wait that has begun goes on."""
        if wanted:
            self._thirsty.set()
        else:
            self._thirsty.clear()

    def note_room(self, *, kept: bool) -> None:
        """Whether the last exchange left room, or may have, for what comes with a wake-up."""
        self._is_room_kept = kept
        self._may_bring |= kept

    def take(self) -> tuple[Exchanged, bool]:
        """What was leased with a wake-up and is in nobody's hands yet, and whether the lease is as good as new.

        A process that stood still finds it long after; by now others may have it.
        """
        leased, self._leased = self._leased, []
        fresh = time.monotonic() - self._asked_at < self._lease_ms / 1000 * FRESH
        return Exchanged(leased, self._next_ms), fresh

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
                was_kept = await self._queue.keep_no_room(self._worker_id)
                if not was_kept and self._may_bring and not self._leased:
                    await self._answered.wait()  # where the room was kept for too long ago, nothing comes
        self._is_room_kept = self._may_bring = False

    async def give_up_room(self) -> None:
        """Lease nothing more with a wake-up, but do not wait for what is on its way.

        Raises:
            QueueUnavailable: Redis is away.
        """
        if self._is_room_kept:
            await self._queue.keep_no_room(self._worker_id)
            self._is_room_kept = False

    async def _listen(self) -> None:
        asked_at = time.monotonic()
        got = await self._queue.listen(self._name, self._worker_id, lease_ms=self._lease_ms, wait_s=self._wait_s)
        self._may_bring = self._is_room_kept
        self._answered.set()
        if got is None:
            return
        if got.ids:
            reach(f"listen.{self._name}:after")
            self._leased += got.ids
            self._next_ms, self._asked_at = got.next_ms, asked_at
            self._is_room_kept = self._may_bring = False
        elif not self._thirsty.is_set():  # the wait began when there was room: others have to hear of it
            await self._queue.wake(self._name)
        self._thirsty.clear()
        self._heard()
