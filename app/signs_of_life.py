"""Signs of life of what is waited for, so that whoever waits can tell what is slow from what stands still.

    a call ── listen ─▶ asks the feed ─▶ headers, each piece of a body ── sign_of_life ─▶ the call is given more time

Who listens is known by the context, as the ids of log lines are: in between lie functions that syncs use, where nobody
waits for an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

_heard: ContextVar[Callable[[], None] | None] = ContextVar("heard", default=None)


def listen(heard: Callable[[], None]) -> None:
    """Have `heard` called at each sign of life in this task, and in those that it starts, from now on."""
    _heard.set(heard)


def sign_of_life() -> None:
    """What is waited for goes on: a part of an answer came, or one of several pieces of work is done."""
    heard = _heard.get()
    if heard is not None:
        heard()
