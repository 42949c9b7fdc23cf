"""Whether other processes have the processors that this one could use, as Linux counts it.

    every second, while asked: how long this thread ran, and how long it waited for a processor ─▶ waited a tenth?
        └ and all threads of the process together ran for less than one processor's time ─▶ short: by others

Where nothing is counted (another system, a sandbox), processors are never short.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LOOK_EVERY_S = 1.0
FORGOTTEN_AFTER_S = 5.0
"""What was before says nothing of now: nothing was asked for so long, since there was nothing to do."""
MOST_WAITED = 0.1
"""Of the time that this thread could have run. On two processors 0.4 to 0.8 in each of two image workers of a cold
sync; 0.003 in a process that takes two thirds of one for itself, 0.4 in one whose own threads want more than there are.
"""
ONE_PROCESSOR = 1.1
"""A process that ran for longer, in seconds a second, has had more than one: its threads wait for each other."""
SCHEDSTAT = Path("/proc/thread-self/schedstat")
"""Nanoseconds run, nanoseconds waited, turns (Documentation/scheduler/sched-stats.rst of Linux)."""


@dataclass(frozen=True, slots=True)
class Used:
    """What was counted until a moment, in seconds."""

    at: float
    ran: float
    """By this thread."""
    waited: float
    """By this thread, for a processor."""
    process_ran: float
    """By all threads of the process."""


def used_until_now(schedstat: Path = SCHEDSTAT) -> Used | None:
    """What is counted of the thread that asks; None where nothing is."""
    try:
        ran_ns, waited_ns, _ = schedstat.read_text().split()
        return Used(time.monotonic(), int(ran_ns) / 1e9, int(waited_ns) / 1e9, time.process_time())
    except (OSError, ValueError):
        return None


class Processors:
    """The processors as one thread sees them; to be asked by that one only."""

    def __init__(self, look: Callable[[], Used | None] = used_until_now) -> None:
        self._look = look
        self._last = look()
        self._short = False

    def are_short(self) -> bool:
        """Whether others have them; said anew once a second of asking, and no after a pause."""
        last = self._last
        if last is not None and time.monotonic() - last.at >= LOOK_EVERY_S:
            now = self._last = self._look()
            self._short = now is not None and _lacked(last, now)
        return self._short


def _lacked(last: Used, now: Used) -> bool:
    waited = now.waited - last.waited
    could_have_run = waited + now.ran - last.ran
    for_s = now.at - last.at
    processors = (now.process_ran - last.process_ran) / for_s
    return for_s < FORGOTTEN_AFTER_S and waited > could_have_run * MOST_WAITED and processors < ONE_PROCESSOR
