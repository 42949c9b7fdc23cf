"""Both event loops that a user may have: asyncio's own, and uvloop's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

T = TypeVar("T")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


async def run_on(loop: str, use: Callable[[], Awaitable[T]]) -> T:
    """What `use` returns on a loop of its own, in a thread of its own."""

    def run() -> T:
        async def main() -> T:
            return await use()

        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            return runner.run(main())

    return await asyncio.to_thread(run)
