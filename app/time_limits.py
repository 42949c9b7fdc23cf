"""Bounds on how long something may take, told as an error of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import PromidataSyncError


@asynccontextmanager
async def within(seconds: float, otherwise: PromidataSyncError) -> AsyncIterator[None]:
    """Run the block for at most `seconds`.

    Raises:
        PromidataSyncError: `otherwise`, when the time is up; a time-out within the block goes through as it is.
    """
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise otherwise from None
