"""Connections to other hosts, kept for the next request, and what is asked once more where a kept one was closed.

    request ─▶ a kept connection, else a fresh one ─▶ answer
                 └─ broke before the answer, and is a GET ─▶ once more, on a fresh one that is not kept

A server may close a kept connection at any time, also as the next request comes in: that is nobody's failure. Where a
fresh one breaks, it is: whoever asked decides whether to try again, within the budget. aiohttp repeats there as well,
and may take another kept connection for it, so its own repeat is off.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, Self

import aiohttp
import yarl

from app.outbound.addresses import AddressPolicy
from app.outbound.resolver import CheckedResolver, Lookup, socket_factory
from app.outbound.urls import WebAddress

DNS_CACHE_S = 10
KEEP_ALIVE_S = 30.0
MAX_HEADER_BYTES = 32 * 1024
"""Of one header. An answer whose ETag is absurd is read all the same; only the ETag is not kept."""


@dataclass(slots=True)
class _Way:
    """How a request went out."""

    kept: bool = False
    """On a connection that was there from an earlier one."""


class Connections:
    """All of one client's; an async context manager."""

    def __init__(self, policy: AddressPolicy, lookup: Lookup, tls: ssl.SSLContext | None) -> None:
        self._policy, self._lookup, self._tls = policy, lookup, tls
        self._open = AsyncExitStack()
        self._kept: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._kept = await self._open.enter_async_context(self._session(keepalive_timeout=KEEP_ALIVE_S))
        self._fresh = await self._open.enter_async_context(self._session(force_close=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._kept = self._fresh = None
        await self._open.aclose()

    async def request(
        self, method: str, address: WebAddress, *, headers: Mapping[str, str], body: bytes | None, connect_s: float
    ) -> aiohttp.ClientResponse:
        """Send one request and give the answer once its headers are there; redirects are the caller's.

        Raises:
            aiohttp.ClientError, OSError: there is none.
        """
        if self._kept is None or self._fresh is None:
            raise RuntimeError("connections are used outside of their `async with`")
        way, url = _Way(), yarl.URL(str(address), encoded=True)
        asked: dict[str, Any] = {
            "headers": headers,
            "data": body,
            "allow_redirects": False,
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
        }
        try:
            return await self._kept.request(method, url, trace_request_ctx=way, **asked)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            if not way.kept or method != "GET":
                raise
        return await self._fresh.request(method, url, **asked)

    def _session(self, **connector: Any) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=CheckedResolver(self._policy, self._lookup),
                socket_factory=socket_factory(self._policy),
                ttl_dns_cache=DNS_CACHE_S,
                limit=0,  # how many requests run at once is the origin budget's business
                ssl=self._tls or True,
                **connector,
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            max_field_size=MAX_HEADER_BYTES,
            headers={"User-Agent": f"promidata-sync/{version('promidata-sync')}", "Accept-Encoding": "gzip, deflate"},
            trace_configs=[_noting_the_way()],
        )
        session._retry_connection = False  # noqa: SLF001  aiohttp's own test client does the same
        return session


def _noting_the_way() -> aiohttp.TraceConfig:
    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx.kept = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(reused)
    return tracing
