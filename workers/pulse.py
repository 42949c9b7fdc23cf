"""A worker's pulse: a small file that its event loop writes anew every two seconds, for `workers/probe.py` to judge.

    loop comes round ─▶ look: what keeps the worker from working? ─▶ {"role", "at", "wrong"} in WORKER_PROBE_FILE

The event loop itself writes, so a loop that is stuck and a process that is frozen fall silent. Times are the machine's
monotonic clock, which a process that asks shares; no wall clock decides.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from structlog import get_logger

from app.errors import SettingsError

log = get_logger()

PULSE_EVERY_S = 2.0


class Pulse:
    """Says that the event loop comes round, and what is wrong; `watch` gives it what knows."""

    def __init__(self, path: Path, role: str) -> None:
        self._path, self._role = path, role
        self._look: Callable[[], str | None] = lambda: None

    def watch(self, look: Callable[[], str | None]) -> None:
        """From now on `look` says at each beat what keeps the worker from working, None when nothing does."""
        self._look = look

    def write(self) -> None:
        """One beat. A reader sees the one before or this one, never half of it.

        Raises:
            OSError: the file cannot be written.
        """
        beat = {"role": self._role, "at": time.monotonic(), "wrong": self._look()}
        new = self._path.with_name(self._path.name + ".new")
        new.write_text(json.dumps(beat), encoding="utf-8")
        new.replace(self._path)

    def end(self) -> None:
        """Take the file away, so that nobody judges the next process by it."""
        self._path.unlink(missing_ok=True)

    async def keep(self) -> None:
        """Beat until cancelled; a file that cannot be written now and then ends no worker."""
        while True:
            await asyncio.sleep(PULSE_EVERY_S)
            try:
                self.write()
            except OSError as error:
                log.warning("no pulse", file=str(self._path), error=str(error))


@asynccontextmanager
async def open_pulse(path: Path | None, role: str) -> AsyncIterator[Pulse | None]:
    """Beat while the block runs, from before its first wait on; None where no file is wished for.

    Raises:
        SettingsError: the file cannot be written; says why.
    """
    if path is None:
        yield None
        return
    pulse = Pulse(path, role)
    try:
        pulse.write()
    except OSError as error:
        raise SettingsError(
            f"WORKER_PROBE_FILE: {path} cannot be written ({os.strerror(error.errno or 0)}): "
            "name a file in a folder that can be, such as a tmpfs at /tmp"
        ) from None
    beating = asyncio.create_task(pulse.keep())
    try:
        yield pulse
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        pulse.end()


def late(what: str, came_at: float, within_s: float) -> str | None:
    """A complaint when `what` last came longer ago than `within_s`; `came_at` is on the monotonic clock."""
    ago_s = time.monotonic() - came_at
    return f"{what} has not come round for {ago_s:.0f} s" if ago_s > within_s else None
