"""Who may ask a host now: the budget of requests that all processes share stands behind this (app/coordination)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol


class Place(Protocol):
    """A place for one request."""

    def note(self, status: int, retry_after_s: float | None = None) -> None:
        """Say how the host answered, and which wait it asked for, in seconds."""


class Gate(Protocol):
    """Lets requests to a host in, so many at once and a second."""

    def slot(self, host: str, within_s: float | None = None) -> AbstractAsyncContextManager[Place]:
        """Wait for a place for one request to `host:port`, and hold it until the block ends.

        Raises:
            NoPlace: there is none within `within_s` seconds.
        """


class OpenGate:
    """Lets everybody in."""

    @asynccontextmanager
    async def slot(self, host: str, within_s: float | None = None) -> AsyncIterator[Place]:
        """A place at once."""
        del host, within_s
        yield _NoPlace()


class _NoPlace:
    def note(self, status: int, retry_after_s: float | None = None) -> None:
        """Nobody listens."""
