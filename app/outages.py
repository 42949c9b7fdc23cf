"""Saying that a part of ours is away: once, then every minute with for how long, and once when it is back.

Many loops of a process meet one outage, several times a second. Each says so here under its own name; a part is back
when every loop that met the outage has come through again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from structlog import get_logger

from app.errors import OutageError

log = get_logger()

AGAIN_AFTER_S = 60.0


@dataclass
class _Outage:
    began: float
    told: float
    said: str
    loops: set[str] = field(default_factory=set)


class Outages:
    """The outages of one process; threads may share it."""

    def __init__(self, again_after_s: float = AGAIN_AFTER_S) -> None:
        self._again_after_s = again_after_s
        self._outages: dict[str, _Outage] = {}
        self._noted: dict[str, float] = {}
        self._lock = threading.Lock()

    def met(self, loop: str, error: BaseException, part: str | None = None) -> None:
        """`loop` waits for a part and comes again; the error tells which part, if it is not named."""
        part = part or _part(error)
        now = time.monotonic()
        with self._lock:
            known = self._outages.get(part)
            outage = self._outages.setdefault(part, _Outage(now, now, ""))
            outage.loops.add(loop)
            outage.said = str(error)
            if known is not None and now - outage.told < self._again_after_s:
                return
            outage.told = now
        if known is None:
            log.warning("waiting for a part of ours", part=part, error=str(error))
        else:
            log.warning("still waiting", part=part, seconds=round(now - outage.began), error=str(error))

    @contextmanager
    def waited_out(self, loop: str) -> Iterator[Callable[[BaseException], None]]:
        """A block that tries again after each outage that it tells of; when it ends, `loop` waits no more."""
        through = False
        try:
            yield partial(self.met, loop)
            through = True
        finally:
            self.over(loop, through=through)

    def noted(self, error: BaseException, consequence: str, part: str | None = None) -> None:
        """Somebody who may not come again met an outage; told at most once a minute, and not while loops wait."""
        part = part or _part(error)
        now = time.monotonic()
        with self._lock:
            last = self._noted.get(part)
            if part in self._outages or (last is not None and now - last < self._again_after_s):
                return
            self._noted[part] = now
        log.warning(consequence, part=part, error=str(error))

    def seconds(self) -> dict[str, float]:
        """For how long loops have been waiting, by part; parts that nobody waits for are not named."""
        now = time.monotonic()
        with self._lock:
            return {part: now - outage.began for part, outage in self._outages.items()}

    def longer_than(self, seconds: float) -> dict[str, str]:
        """What was said last of each part that loops have been waiting for that long, by part."""
        now = time.monotonic()
        with self._lock:
            return {part: outage.said for part, outage in self._outages.items() if now - outage.began > seconds}

    def over(self, loop: str, *, through: bool = True) -> None:
        """`loop` came through, or, with `through` False, waits no more."""
        if not self._outages:
            return
        with self._lock:
            for part in [part for part, outage in self._outages.items() if loop in outage.loops]:
                outage = self._outages[part]
                outage.loops.discard(loop)
                if not outage.loops:
                    del self._outages[part]
                    if through:
                        log.info("a part of ours is back", part=part, seconds=round(time.monotonic() - outage.began))


def _part(error: BaseException) -> str:
    return error.part if isinstance(error, OutageError) else type(error).__name__


outages = Outages()
"""This process's."""


def end_if_cancelled(error: BaseException | None = None) -> None:
    """Let a task end that was cancelled, whatever the cancellation was turned into on its way up.

    A client whose call is cancelled may close what it holds and report that instead; taken for an outage, it would be
    waited out, and who cancelled the task would wait for ever.

    Raises:
        CancelledError: the current task is being cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error
