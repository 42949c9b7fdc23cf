"""Asking programs of our own on this machine whether they serve; strangers' addresses go through `client`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

ANSWERS_WITHIN_S = 5.0


class Loopback:
    """Looks at addresses of programs that this machine runs."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def serves(self, url: str, *, method: str = "GET") -> bool:
        """Whether a program answers there, and with success."""
        try:
            return (await self._client.request(method, url)).is_success
        except httpx.HTTPError:
            return False


@asynccontextmanager
async def open_loopback() -> AsyncIterator[Loopback]:
    """One client for many looks; no proxy of the environment stands in between."""
    async with httpx.AsyncClient(timeout=ANSWERS_WITHIN_S, trust_env=False) as client:
        yield Loopback(client)
