"""Failpoints: named places where a test makes the process die, to prove that it does not matter (ENGINE.md 8).

    commit of `work`:  <folder>.<module>.<function>:before-commit  ─ COMMIT ─  <folder>.<module>.<function>:after-commit
                                                         └─ <folder>.<module>.<function>:cut: its answer never arrives
    anything sent:     send.<queue>:before                 ─ Redis ─    send.<queue>:after
    one job's start:   start.<family's SKU, or the job's id>

Commits are named after the function that hands its work to `Database.transact`, so none can be forgotten. Off unless
`arm` was called, which only the start of a worker does, and only when PROMIDATA_FAILPOINT is set.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any


class _Armed:
    """The point at which this process dies, and how often it has to come by until then."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.left = 0
        self.signum = signal.SIGKILL


_armed = _Armed()


def arm(wish: str | None) -> None:
    """Die at `name`, or at the nth time for `name#n`; freeze there for `name!`; None disarms."""
    _armed.signum = signal.SIGSTOP if (wish or "").endswith("!") else signal.SIGKILL
    name, _, number = (wish or "").rstrip("!").partition("#")
    _armed.name = name or None
    _armed.left = int(number or 1)


def reach(name: str) -> None:
    """Die here as by `kill -9`, or freeze, if this point is armed."""
    if _armed.name is None or _armed.name != name:
        return
    _armed.left -= 1
    if _armed.left == 0:
        os.kill(os.getpid(), _armed.signum)


def is_armed(name: str) -> bool:
    """Whether the process is to die here, so that what is usually done in one go has to stop here."""
    return _armed.name == name


def cuts(name: str) -> bool:
    """Whether a connection is to break here, which the process survives."""
    if _armed.name is None or _armed.name != name:
        return False
    _armed.left -= 1
    return _armed.left == 0


def name_of(work: Callable[..., Any]) -> str:
    """A commit's name: the module's folder and name, and the function that `work` stands in.

    >>> def commit():
    ...     return lambda db: None
    >>> name_of(commit()).rpartition(".")[2]
    'commit'
    """
    place = ".".join(work.__module__.split(".")[-2:])
    return f"{place}.{work.__qualname__.partition('.<locals>')[0]}"
