"""What a measurement cost: CPU seconds and peak memory by process, looked at while it runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

LOOK_EVERY_S = 2.0
"""Of memory. A look asks the kernel about each process of PostgreSQL: twice a second that took 0.9 to 1.4 s of CPU in a
sync of 14 to 18 s."""
SHARED_MEMORY = ("/dev/zero", "/dev/shm/", "/SYSV")
"""How Linux names memory that processes share: mapped without a file, POSIX's, System V's."""
CORES = os.cpu_count() or 1


@dataclass
class Cost:
    """What one program cost, its children included."""

    cpu_s: float = 0.0
    peak_mb: float = 0.0
    end_mb: float = 0.0
    """Of its own, so without what processes share, when the context is left or `note_end` is called."""


class CostMeter:
    """CPU and memory of process trees, by name, while the context is open.

    Memory is the proportional share (PSS) where the system tells it, so that PostgreSQL's shared buffers count once;
    looked at every other second. Memory at the end is what the processes would give back if they ended (USS).
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._roots = {name: psutil.Process(pid) for name, pid in pids.items()}
        self.costs = {name: Cost() for name in pids}
        self._before: dict[str, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._before = {name: _cpu_s(root) for name, root in self._roots.items()}
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()
        self._look()
        for name, root in self._roots.items():
            self.costs[name].cpu_s = _cpu_s(root) - self._before[name]
        self.note_end()

    def note_end(self) -> None:
        """Memory at the end is what the processes hold now; the context may have been left before."""
        for name, root in self._roots.items():
            self.costs[name].end_mb = sum(own_mb(process) for process in _tree(root))

    @property
    def cpu_s(self) -> float:
        """All of them together."""
        return sum(cost.cpu_s for cost in self.costs.values())

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        for name, root in self._roots.items():
            self.costs[name].peak_mb = max(self.costs[name].peak_mb, _memory_mb(root))


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_s(root: psutil.Process) -> float:
    """Of the tree's processes, and of those of its children that ended."""
    total = 0.0
    for process in _tree(root):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += (
                times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
            )
    return total


def _memory_mb(root: psutil.Process) -> float:
    return sum(_mb(process, "pss") for process in _tree(root))


def own_mb(process: psutil.Process) -> float:
    """Memory without what processes share, also where this one alone has touched it, as PostgreSQL's do of buffers."""
    touched = 0
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied, AttributeError):
        shared = (part for part in process.memory_maps(grouped=True) if part.path.startswith(SHARED_MEMORY))
        touched = sum(part.private_clean + part.private_dirty for part in shared)
    return max(0.0, _mb(process, "uss") - touched / 1e6)


def _mb(process: psutil.Process, kind: str) -> float:
    """Of a process that has ended none."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return _bytes(process, kind) / 1e6
    return 0.0


def _bytes(process: psutil.Process, kind: str) -> int:
    """Of this kind, where the system tells it, and what is resident elsewhere."""
    try:
        info = process.memory_full_info()
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    return int(getattr(info, kind, 0) or info.rss)
