"""Waiting for what a query says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], Awaitable[object]], timeout_s: float = 60.0) -> None:
    """Ask again and again until the answer is true; fails when it does not become so in time."""
    async with asyncio.timeout(timeout_s):
        for pause_s in iter(lambda: 0.03, None):
            if await condition():
                return
            await asyncio.sleep(pause_s)
