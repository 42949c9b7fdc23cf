"""Ask whether processes are still there. One that has ended and that nobody has reaped yet is not."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil


def still_there(processes: Iterable[psutil.Process], timeout_s: float = 5.0) -> list[psutil.Process]:
    """Wait until all have ended, `timeout_s` at most, and return those that have not."""
    deadline = time.monotonic() + timeout_s
    left = list(processes)
    while left := [process for process in left if _runs(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
