"""Where a process's CPU seconds go: every 5 ms each thread's CPU time is put down to what it is doing.

A thread's own CPU clock says how much it used since the last look; the innermost frame that belongs to a known part
says for what. C code that holds the interpreter is seen when it lets go, so single functions are rough and parts are
good; what no frame explains (sockets, protocol parsers, the loop in C) is a part of its own.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

LOOK_EVERY_S = 0.005
SWITCH_EVERY_S = 0.0001
"""How soon a running thread yields to the sampler: with Python's 5 ms most looks would fall on an idle loop."""
TOP_FUNCTIONS = 25
PARTS = (
    ("hash", "inspect.py:_examined"),
    ("compress, hash, outline", "documents_step.py:_take"),
    ("inspect", "/PIL/"),
    ("inspect", "app/images/"),
    ("parse", "app/feed/"),
    ("decide", "app/catalogue/"),
    ("database", "/asyncpg/"),
    ("database", "/sqlalchemy/"),
    ("database", "app/persistence/"),
    ("fetch", "/aiohttp/"),
    ("fetch", "/httpx"),
    ("fetch", "/yarl/"),
    ("fetch", "/multidict/"),
    ("fetch", "app/outbound/"),
    ("queue", "/redis/"),
    ("queue", "app/jobs/"),
    ("queue", "app/coordination/"),
    ("stage", "app/sync/"),
    ("queue", "workers/"),
)
PUT = "app/images/store"
REST = "event loop, sockets and parsers in C"


class CpuSampler:
    """Counts CPU seconds by part and by function from `start` to `stop`."""

    def __init__(self) -> None:
        self.parts: defaultdict[str, float] = defaultdict(float)
        self.functions: defaultdict[str, float] = defaultdict(float)
        self._last: dict[int, float] = {}
        self._cpu_before_s = 0.0
        self._cpu_s = 0.0
        self._known: dict[str, str | None] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        sys.setswitchinterval(SWITCH_EVERY_S)
        self._cpu_before_s = time.process_time()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._cpu_s = time.process_time() - self._cpu_before_s
        self._stopped.set()
        self._thread.join()

    def told(self) -> dict[str, Any]:
        """CPU seconds of the process meanwhile, by part, and of the functions that used most."""
        top = sorted(self.functions.items(), key=lambda item: -item[1])[:TOP_FUNCTIONS]
        return {"cpu_s": self._cpu_s, "parts": dict(self.parts), "functions": dict(top)}

    def _run(self) -> None:
        own = threading.get_ident()
        while not self._stopped.wait(LOOK_EVERY_S):
            for ident, frame in sys._current_frames().items():  # noqa: SLF001 (there is no other way)
                if ident != own:
                    self._note(ident, frame)

    def _note(self, ident: int, frame: FrameType) -> None:
        now = time.clock_gettime(time.pthread_getcpuclockid(ident))
        used = now - self._last.get(ident, now)
        self._last[ident] = now
        if used <= 0:
            return
        self.functions[_name(frame)] += used
        self.parts[self._part_of(frame)] += used

    def _part_of(self, frame: FrameType | None) -> str:
        while frame is not None:
            name = f"{frame.f_code.co_filename}:{frame.f_code.co_name}"
            if name not in self._known:
                self._known[name] = _part_named(name)
            part = self._known[name]
            if part is not None:
                return part
            frame = frame.f_back
        return REST


def _part_named(name: str) -> str | None:
    if PUT in name:
        return "put"
    return next((part for part, mark in PARTS if mark in name), None)


def _name(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_code.co_name}"
