"""What is on its way to the store keeps no other picture from being downloaded.

    downloaded and judged ─▶ the store took the last one, and little is on its way beside the slots?
                               ├ yes ─▶ the slot is free at once: the next download runs beside this picture's put
                               └ no ──▶ the slot is free once the picture is stored

A slot is a place at the origin, and bounds the memory that pictures take; what is stored beside the slots is bounded
here. While the store or the database is away, and some seconds longer, nothing gives its slot away, so an outage has no
more in hand than that, also one that comes and goes (docs/decisions/0048).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from app.errors import OutageError

MOST_BYTES = 16 * 1024 * 1024
"""Of all pictures that are stored beside the slots of one process; ten usual ones are one or two."""

CALM_S = 10.0
"""Without an outage, before slots are given away again: who met one tries again without a slot, and is not counted."""


class Overlap:
    """The pictures of one process that are stored while others have their slots already."""

    def __init__(self, most: int) -> None:
        """`most` at a time."""
        self._most = most
        self._count = self._bytes = 0
        self._goes_well, self._calm_from_s = True, 0.0

    @contextmanager
    def storing(self, size_bytes: int, free_slot: Callable[[], None]) -> Iterator[None]:
        """Around what stores a picture; `free_slot` is called first where the slot is not needed for that."""
        with self._beside(size_bytes, free_slot) if self._has_room(size_bytes) else nullcontext():
            try:
                yield
            except OutageError:
                self._goes_well, self._calm_from_s = False, time.monotonic() + CALM_S
                raise
            self._goes_well = True

    def _has_room(self, size_bytes: int) -> bool:
        is_calm = self._goes_well and time.monotonic() >= self._calm_from_s
        return is_calm and self._count < self._most and self._bytes + size_bytes <= MOST_BYTES

    @contextmanager
    def _beside(self, size_bytes: int, free_slot: Callable[[], None]) -> Iterator[None]:
        self._count += 1
        self._bytes += size_bytes
        try:
            free_slot()
            yield
        finally:
            self._count -= 1
            self._bytes -= size_bytes
