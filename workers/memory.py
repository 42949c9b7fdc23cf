"""An idle worker's memory: what glibc keeps after a large manifest goes back to the system.

    a job ended ─▶ two looks, some seconds apart, with no job between ─▶ malloc_trim ─▶ until the next job ended

Most of what a manifest of 100,000 lines needs is freed below something that stays, where glibc gives nothing back by
itself: a supplier worker that had read one kept 116 MB, and keeps 84 (docs/decisions/0040).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

LOOK_EVERY_S = 5.0
"""Seconds between two looks at whether the worker is idle."""
LOOKS = 2
"""That find it so: short jobs that follow each other take their memory from what the last one left."""


class IdleMemory:
    """Gives memory back once for each time that a worker has worked and then has nothing to do."""

    def __init__(self, is_idle: Callable[[], bool], give: Callable[[], None] | None = None) -> None:
        """Prepare it; `give` is what it does then, `give_back` unless something else is said."""
        self._is_idle = is_idle
        self._give = give or give_back
        self._looks_left = 0

    def worked(self) -> None:
        """A job was worked on."""
        self._looks_left = LOOKS

    async def look(self) -> None:
        """Give memory back if there was work since the last time, and none since the look before."""
        if self._looks_left and self._is_idle():
            self._looks_left -= 1
            if not self._looks_left:
                self._give()


def give_back() -> None:
    """Give free memory back to the system where the C library has a call for it, as glibc does."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim.argtypes = [ctypes.c_size_t]
    found: Callable[[int], int] | None = trim
    return found
