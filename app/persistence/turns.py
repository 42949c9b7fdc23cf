"""Who may hold a connection: at most `size` at once, first come first served, short work never behind long work alone.

A transaction may last for seconds, a claim takes a millisecond; so a few of the places are never given to transactions
while there is more than one. What the server refuses lowers the limit, which grows again one by one.

A place beyond those that have a connection costs one: some 20 ms of CPU here and at the server, and all statements are
planned anew. What is lent comes back within milliseconds, so one more is given only to who has waited for it in vain.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

PATIENCE_S = 0.01
"""For how long one waits for a connection that is lent before one more is opened, in seconds."""
GROW_EVERY_S = 5.0
"""After a refusal: how long until one connection more is tried."""


@dataclass(eq=False)
class _Asker:
    long: bool
    turn: asyncio.Future[None]
    since: float = field(default_factory=time.monotonic)


class Turns:
    """The places of one process."""

    def __init__(self, size: int, patience_s: float = PATIENCE_S) -> None:
        self.size = size
        self._patience_s = patience_s
        self.limit = size
        """Most places now; below `size` while the server refuses more."""
        self.ready = 1
        """Places that are given at once: those that a connection was opened for."""
        self.held = 0
        self._long = 0
        self._asking: deque[_Asker] = deque()
        self._growing: asyncio.TimerHandle | None = None
        self._opening: asyncio.TimerHandle | None = None

    @property
    def under_pressure(self) -> bool:
        """Whether the server refused a connection lately."""
        return self.limit < self.size

    @property
    def asking(self) -> int:
        """How many wait for a place, and have done so for longer than what is lent takes to come back."""
        latest = time.monotonic() - self._patience_s
        return sum(asker.since <= latest for asker in self._asking)

    @property
    def contended(self) -> bool:
        """Whether somebody waits for a place that another one has, although there is more than one."""
        return self.limit > 1 and any(self._all_taken_for(asker) for asker in self._asking)

    async def take(self, *, long: bool, first: bool = False) -> None:
        """Wait for a place; `first` puts one that had a place already before all others. Cancelling leaves none taken.

        Args:
            long: for a transaction rather than for single statements.
        """
        asker = _Asker(long, asyncio.get_running_loop().create_future())
        if first:
            self._asking.appendleft(asker)
        else:
            self._asking.append(asker)
        self._call()
        try:
            await asker.turn
        except asyncio.CancelledError:
            if not asker.turn.cancelled():
                self.give(long=long)
            elif asker in self._asking:  # a place that came free meanwhile may have passed it over
                self._asking.remove(asker)
            raise

    def take_at_once(self, *, long: bool) -> bool:
        """A place that a connection was opened for, if one is free and nobody waits; whether there was one."""
        if self._asking or self.held >= min(self.limit, self.ready) or (long and self._long >= self._most_long()):
            return False
        self.held += 1
        self._long += long
        return True

    def take_spare(self) -> bool:
        """A place that nobody waits for, now or not at all."""
        if self._asking or self.held >= self.limit:
            return False
        self.held += 1
        return True

    def give(self, *, long: bool) -> None:
        """Give a place back."""
        self.held -= 1
        self._long -= long
        self._call()

    def refused(self) -> bool:
        """The server refused the connection of a place that is held; returns whether one of ours may come free.

        One fewer than there are is wanted from now on: whoever has none gets one.
        """
        others = self.held - 1
        self.limit = max(1, min(self.limit, others - 1))
        self._grow_later()
        return others > 0

    def closed(self, left: int) -> None:
        """A connection was closed for having been idle; `left` are open."""
        self.ready = max(1, left)

    def close(self) -> None:
        """Stop growing."""
        for timer in (self._growing, self._opening):
            if timer is not None:
                timer.cancel()

    def _grow_later(self) -> None:
        if self._growing is not None:
            self._growing.cancel()
        self._growing = asyncio.get_running_loop().call_later(GROW_EVERY_S, self._grow)

    def _grow(self) -> None:
        self.limit += 1
        self._growing = None
        if self.under_pressure:
            self._grow_later()
        self._call()

    def _call(self) -> None:
        """Give the free places to those who wait, the first first; long work leaves the reserve to the others."""
        for asker in list(self._asking):
            if self.held >= self.limit:
                return
            if self._all_taken_for(asker):
                continue
            if self.held >= self.ready and not self._one_more_for(asker):
                return
            self._asking.remove(asker)
            if not asker.turn.done():
                self.held += 1
                self._long += asker.long
                asker.turn.set_result(None)

    def _all_taken_for(self, asker: _Asker) -> bool:
        return self.held >= self.limit or (asker.long and self._long >= self._most_long())

    def _one_more_for(self, asker: _Asker) -> bool:
        """Whether somebody has waited for long enough to get a connection that is not open yet; else look again."""
        waits_s = asker.since + self._patience_s - time.monotonic()
        if waits_s <= 0:
            self.ready = self.held + 1
            return True
        if self._opening is None:
            self._opening = asyncio.get_running_loop().call_later(waits_s, self._look_again)
        return False

    def _look_again(self) -> None:
        self._opening = None
        self._call()

    def _most_long(self) -> int:
        reserve = min(2, self.limit // 4 + 1)
        return max(1, self.limit - reserve)
