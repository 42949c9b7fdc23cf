"""A worker's exchange with Redis: what ended goes, what is ready comes under a lease, and is claimed in the ledger.

    wake-up, freed slot, or 1 s ─▶ exchange with Redis ─▶ one claim in PostgreSQL for all that came ─▶ slots

An idle worker blocks on the queue's marker, so that an enqueue wakes it at once, and has leased what came with that
(`listener.py`); polling is the fallback.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from app.errors import DatabaseUnavailable, OutageError, QueueUnavailable
from app.failpoints import cuts, reach
from app.jobs.definitions import QueueName
from app.jobs.messages import Exchanged
from app.jobs.queue import RedisQueue
from app.jobs.tenancy import OTHERS_WAIT_MS
from app.outages import outages
from app.persistence import ledger
from app.persistence.breaking import break_off
from app.persistence.ledger import ClaimedJob
from app.sync.running.outcomes import Ended, end_cancelled
from app.sync.running.slots import Slots
from app.sync.stage.context import Stage
from workers.listener import Listener
from workers.pulse import late

IDLE_POLL_S = 1.0
LATE_S = 120.0
"""A round, its waits for Redis and for a claim in PostgreSQL among it, gives up long before."""


class Exchange:
    """Of one worker. What it claims goes to `slots`; while `takes_no_more` says so it only hands over what ended."""

    def __init__(
        self,
        stage: Stage,
        queue: RedisQueue,
        name: QueueName,
        worker_id: str,
        slots: Slots,
        *,
        lease_ms: int,
        takes_no_more: Callable[[], bool],
    ) -> None:
        self._stage, self._queue, self._name, self._worker_id = stage, queue, name, worker_id
        self._slots, self._lease_ms, self._takes_no_more = slots, lease_ms, takes_no_more
        self._database = stage.services.database
        self._ended: deque[Ended] = deque()
        self._wake = asyncio.Event()
        self._listener = Listener(queue, name, worker_id, lease_ms=lease_ms, heard=self.look)
        self._paused = False
        self._one_at_a_time = asyncio.Lock()
        self._round_at = time.monotonic()

    def look(self) -> None:
        """There is a reason for a round: a slot came free, a job ended, the worker is to stop."""
        self._wake.set()

    def over(self, ended: Iterable[Ended]) -> None:
        """What Redis is to be told of these jobs, in the next round, which is now."""
        self._ended.extend(ended)
        self._wake.set()

    def complaint(self) -> str | None:
        """What is wrong with it, None when nothing is. To wait in an outage is to work."""
        return late("its exchange with Redis", self._round_at, LATE_S)

    async def run(self) -> None:
        """Do a round whenever there is a reason to, until cancelled."""
        pause_s = 0.0
        while True:
            self._round_at = time.monotonic()
            if not self._wake.is_set() and pause_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._wake.wait()
            self._wake.clear()
            try:
                pause_s = await self.round()
            except OutageError as error:
                outages.met("exchange", error)
                await asyncio.sleep(IDLE_POLL_S)
            else:
                outages.over("exchange")

    async def listen(self) -> None:
        """Wake up when something is sent, until cancelled."""
        await self._listener.run()

    async def round(self) -> float:
        """Hand over what ended, claim what came; returns how long to wait for a reason to do it again, in seconds.

        Raises:
            OutageError: Redis or PostgreSQL is away; what ended is kept for the next round.
        """
        async with self._one_at_a_time:  # two would each lease what there is room for
            return await self._round_alone()

    async def take_no_more(self) -> None:
        """Wait for a round that is under way and may still bring jobs; no other does while `takes_no_more` says so."""
        async with self._one_at_a_time:
            await self._listener.lease_nothing()

    async def leave_to_others(self, jobs: list[ClaimedJob]) -> None:
        """Give claims back unspent; the next round says so to Redis.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.
        """
        async with self._database.quick() as db:
            back = await ledger.hand_back(db, jobs)
        self.over(Ended(job_id, 0) for job_id in back)

    async def _round_alone(self) -> float:
        if self._paused:
            await self._look_whether_paused()
        leased, fresh = self._listener.take()
        if leased.ids and fresh and not self._takes_no_more():
            return await self._begin_with(leased)
        self._ended.extend(Ended(job_id, 0) for job_id in leased.ids)
        room = self._room()
        if not self._ended and room <= 0:
            await self._listener.give_up_room()
            self._listener.listen_only_if(self._is_thirsty())
            return IDLE_POLL_S
        return await self._begin_with(await self._ask(room))

    async def _ask(self, room: int) -> Exchanged:
        ended, self._ended = self._ended, deque()
        idle = room > 0 and self._slots.is_idle()
        if idle:
            self._listener.note_room(kept=True)
        reach(f"exchange.{self._name}:before")
        try:
            got = await self._queue.exchange(
                self._name,
                self._worker_id,
                lease_ms=self._lease_ms,
                room=max(0, room),
                done=[end.job_id for end in ended if end.wait_ms is None],
                again=[(end.job_id, end.wait_ms) for end in ended if end.wait_ms is not None],
                keep_room=idle,
            )
        except QueueUnavailable:
            self._ended.extendleft(reversed(ended))
            raise
        self._listener.note_room(kept=idle and not got.ids)
        reach(f"exchange.{self._name}:after")
        return got

    async def _begin_with(self, got: Exchanged) -> float:
        if got.ids:
            await self._claim(got.ids)
            await asyncio.sleep(0)  # what was claimed begins before the rest of this round
        if self._ended:
            self._wake.set()
        self._listener.listen_only_if(self._is_thirsty())
        return IDLE_POLL_S if got.next_ms is None else min(IDLE_POLL_S, max(got.next_ms, 1) / 1000)

    def _is_thirsty(self) -> bool:
        """A paused worker hears of the resuming; a full one, or one that takes no more, leaves the marker to others."""
        return not self._takes_no_more() and (self._paused or (self._room() > 0 and self._slots.has_free()))

    def _room(self) -> int:
        return 0 if self._takes_no_more() or self._paused or self._queue.tenancy.foreign else self._slots.room()

    async def _look_whether_paused(self) -> None:
        async with self._database.quick() as db:
            self._paused = await ledger.is_paused(db, self._name)

    async def _claim(self, ids: list[str]) -> None:
        """Claim in the ledger what Redis leased; what may not run goes back, or is forgotten when it is closed."""
        try:
            async with self._database.quick() as db:
                claimed, unclaimed = await ledger.claim(db, ids, queue=self._name)
                if cuts(f"claim.{self._name}:cut"):
                    await break_off(db)
        except DatabaseUnavailable:
            self._ended.extend(Ended(job_id, 1000) for job_id in ids)
            raise
        reach(f"claim.{self._name}:after-commit")
        self._stage.expected.note(claimed)
        for job in claimed:  # first: no outage below may leave them claimed and with nobody
            self._slots.add(job)
        self._paused = any(other.paused for other in unclaimed)
        unknown_ms = await self._wait_of_unknown() if any(other.unknown for other in unclaimed) else None
        for other in unclaimed:
            wait_ms = None if other.closed else other.wait_ms
            self._ended.append(Ended(other.id, unknown_ms if other.unknown else wait_ms))
        closing = [other.id for other in unclaimed if other.closed]
        if closing:
            await end_cancelled(self._stage, closing)

    async def _wait_of_unknown(self) -> int | None:
        """When to look again at messages of jobs that the ledger does not have: never, if the keys are ours alone."""
        try:
            await self._queue.hold()
        except QueueUnavailable:
            return OTHERS_WAIT_MS
        return OTHERS_WAIT_MS if self._queue.tenancy.foreign else None
