"""Bounds on how long something may take, told as an error of ours, and on how long another try is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from app.errors import PromidataSyncError

LONGEST_WAIT_S = 300.0
"""Before another try. ENGINE.md 1: at most five minutes; a longer `Retry-After` is an error that states the wish."""


def within(seconds: float, otherwise: Callable[[], PromidataSyncError]) -> AbstractAsyncContextManager[None]:
    """Run the block for at most `seconds`.

    Raises:
        PromidataSyncError: what `otherwise` makes, when the time is up. A time-out of the block's own goes through.
    """
    return _Within(seconds, otherwise)


class _Within:
    """By hand, since a picture passes through several, and a generator costs as much again as the time-out."""

    __slots__ = ("_limit", "_otherwise")

    def __init__(self, seconds: float, otherwise: Callable[[], PromidataSyncError]) -> None:
        self._limit, self._otherwise = asyncio.timeout(seconds), otherwise

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise self._otherwise() from None
        if isinstance(error, TimeoutError) and self._limit.expired():
            raise self._otherwise() from None
