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

    async def refusal(self, url: str, *, method: str = "GET") -> str | None:
        """Why a program there does not serve, None where it answers with success.

        Empty where nobody answers, or says nothing of why: the `detail` of a problem document is what says it.
        """
        try:
            answer = await self._client.request(method, url)
            return None if answer.is_success else str(answer.json()["detail"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return ""


@asynccontextmanager
async def open_loopback() -> AsyncIterator[Loopback]:
    """One client for many looks; no proxy of the environment stands in between."""
    async with httpx.AsyncClient(timeout=ANSWERS_WITHIN_S, trust_env=False) as client:
        yield Loopback(client)
