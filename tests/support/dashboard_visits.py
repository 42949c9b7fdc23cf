"""Visitors of the dashboard: a key for each role, signing in with it, and forms as their pages send them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from app.api import sessions
from tests.support.plain_http import plain_client

SECRETS = {role: f"{role}-secret-of-16-chars" for role in ("viewer", "operator", "admin")}
KEYS = ",".join(f"{role}-key:{role}:{secret}" for role, secret in SECRETS.items())
TOKEN = re.compile(r'name="token" value="([0-9a-f]{64})"')


@asynccontextmanager
async def browsing(url: str, role: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A visitor, signed in with the key of a role."""
    async with plain_client(base_url=url, follow_redirects=True, timeout=30) as http:
        if role is not None:
            answer = await send(http, "/sign-in", {"key": SECRETS[role]}, page="/sign-in")
            assert (answer.status_code, sessions.COOKIE in http.cookies) == (200, True)
        yield http


async def send(http: httpx.AsyncClient, path: str, fields: dict[str, str], page: str = "/") -> httpx.Response:
    """Send a form as the page that has it would."""
    found = TOKEN.search((await http.get(page)).text)
    assert found is not None, page
    return await http.post(path, data={"token": found[1], **fields})
