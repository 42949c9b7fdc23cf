"""Work that Ctrl-C interrupts, so that it can put things in order. Around it Ctrl-C just ends a command (start.py)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from app.cli.exits import just_end

T = TypeVar("T")


def interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a loop of its own, where Ctrl-C cancels it.

    Raises:
        KeyboardInterrupt: it was cancelled so.
    """
    if signal.getsignal(signal.SIGINT) is not just_end:
        return asyncio.run(work)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # asyncio takes the place of this one alone
    try:
        return asyncio.run(work)
    finally:
        signal.signal(signal.SIGINT, just_end)
