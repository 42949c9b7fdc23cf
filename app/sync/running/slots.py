"""Slots: which claimed jobs wait for one, have one, or gave theirs back and wait for their commit.

A worker has those of its queue, a direct sync those of each queue.

claimed ─▶ ready ─▶ has a slot ─▶ gave it back ─▶ committed, removed

While jobs are short, a few more are claimed than there are slots: what is ready starts in the moment in which a slot
becomes free, not two round trips later. Long jobs are not claimed ahead, so that no worker sits on what another could
begin; where short ones turn out to be followed by long ones, what has waited is handed back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from functools import partial
from typing import Any, Protocol

from app.persistence.ledger import ClaimedJob

AHEAD_S = 0.4
"""As much work is held ready as the slots do in this time: many times what claiming takes, so that claims are few."""
LONG_S = 0.5
"""Jobs that hold a slot for so long are not claimed ahead."""
MOST_AHEAD = 16
"""Jobs held ready, a slot, at most."""
READY_S = 1.0
"""What has waited for a slot for so long is better off with another worker."""
UNSETTLED = 16
"""Jobs that gave their slot back and wait for their commit, a slot; beyond that no new one starts. About as many as one
commit takes (`most` of each stage's ends), or slow flushes are what short jobs wait for."""
WEIGHT = 0.1
"""Of the newest job in the average of how long a slot is held."""


class Running:
    """A claimed job and its task, which is None until it has a slot."""

    def __init__(self, job: ClaimedJob) -> None:
        self.job = job
        self.lost = False
        self.task: asyncio.Task[None] | None = None
        self.claimed_at = time.monotonic()
        self.began_at = 0.0
        self.has_slot = False


class Spawn(Protocol):
    """`asyncio.create_task`, or a group's."""

    def __call__(self, coro: Coroutine[Any, Any, None], /, *, context: Context) -> asyncio.Task[None]:
        """Begin a task."""


class Slots:
    """The claimed jobs of one queue in one process."""

    def __init__(
        self,
        count: int,
        start: Callable[[Running], Coroutine[Any, Any, None]],
        changed: Callable[[], None],
        *,
        spawn: Spawn = asyncio.create_task,
    ) -> None:
        """Prepare them: `start` runs a job, as a task of `spawn`; `changed` is told when there is room again."""
        self.count = count
        self.busy = 0
        self._start, self._changed, self._spawn = start, changed, spawn
        self._held: dict[str, Running] = {}
        self._ready: deque[Running] = deque()
        self._slot_held_s: float | None = None

    @property
    def ids(self) -> list[str]:
        """The jobs whose leases are to be renewed."""
        return list(self._held)

    @property
    def jobs(self) -> list[ClaimedJob]:
        """The claimed jobs."""
        return [running.job for running in list(self._held.values())]

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks of the jobs that began."""
        return [running.task for running in self._held.values() if running.task is not None]

    def room(self) -> int:
        """How many more may be claimed; not more than zero when there is none.

        While all slots are taken, what is ready is filled up when half of it is gone: a claim of one job costs what a
        claim of many does.
        """
        ahead = self._ahead()
        if self.busy >= self.count and len(self._ready) > ahead // 2:
            return 0
        wanted = self.count + ahead - self.busy - len(self._ready)
        return min(wanted, self.count * (1 + UNSETTLED + MOST_AHEAD) - len(self._held))

    def has_free(self) -> bool:
        """Whether a slot is empty."""
        return self.busy < self.count

    def is_idle(self) -> bool:
        """Whether there is no job, not even one whose commit is waited for."""
        return not self._held

    def add(self, job: ClaimedJob) -> None:
        """Begin a job, at once or when a slot is free."""
        before = self._held.pop(job.id, None)
        if before is not None:
            self._drop(before)  # our own lease ran out and we took the job again: the older claim is void
        running = Running(job)
        self._held[job.id] = running
        self._ready.append(running)
        self._fill()

    def give_back(self, running: Running) -> None:
        """A job's slot is free; once is enough."""
        if running.has_slot:
            running.has_slot = False
            self.busy -= 1
            self._note(time.monotonic() - running.began_at)
            self._fill()
            self._changed()

    def remove(self, running: Running) -> bool:
        """A job is over for this worker; False when a newer claim of ours has taken its place."""
        if self._held.get(running.job.id) is not running:
            return False
        del self._held[running.job.id]
        return True

    def take_unstarted(self, waited_s: float = 0.0) -> list[ClaimedJob]:
        """Take out what has not begun, to be handed back; nothing when the first has not `waited_s` yet.

        What waited shows that the slots are held for so long: nothing more is claimed ahead until they are not.
        """
        first_waited_s = time.monotonic() - self._ready[0].claimed_at if self._ready else 0.0
        if not self._ready or first_waited_s < waited_s:
            return []
        if waited_s:
            self._slot_held_s = max(first_waited_s, LONG_S)
        unstarted = [running.job for running in self._ready if self.remove(running)]
        self._ready.clear()
        return unstarted

    def lose(self, ids: Iterable[str], seen: list[ClaimedJob]) -> None:
        """Stop jobs whose claim is gone, if they are still the ones that were `seen`."""
        for job_id in ids:
            running = self._held.get(job_id)
            if running is not None and running.job in seen:
                self._drop(running)

    def _drop(self, running: Running) -> None:
        running.lost = True
        if running.task is not None:
            running.task.cancel()

    def _fill(self) -> None:
        while self._ready and self.busy < self.count:
            running = self._ready.popleft()
            self.busy += 1
            running.has_slot = True
            running.began_at = time.monotonic()
            # often begun by a job that ends: neither that one's trace nor its ids in the log are this one's
            running.task = self._spawn(self._start(running), context=Context())
            running.task.add_done_callback(partial(self._over, running))

    def _over(self, running: Running, _: asyncio.Task[None]) -> None:
        """Whatever a task ended with, also one that was cancelled before its first step: nothing of it stays."""
        self.give_back(running)
        self.remove(running)

    def _note(self, held_s: float) -> None:
        before = self._slot_held_s
        self._slot_held_s = held_s if before is None else before + WEIGHT * (held_s - before)

    def _ahead(self) -> int:
        if self._slot_held_s is None or self._slot_held_s >= LONG_S:
            return 0
        return int(self.count * min(MOST_AHEAD, AHEAD_S / max(self._slot_held_s, 1e-6)))
