"""How often an origin is asked that breaks connections: once a try, whatever the HTTP client would do by itself."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.errors import OriginUnavailable
from app.outbound import FetchLimits, OutboundClient
from tests.support.raw_http import KEEP, Script, answer, serve

LIMITS = FetchLimits(max_bytes=100_000, connect_timeout_s=1, first_byte_timeout_s=1, total_timeout_s=3)
ONCE_KEPT: Script = [answer(b"hello"), KEEP]


@pytest_asyncio.fixture
async def client() -> AsyncIterator[OutboundClient]:
    async with OutboundClient(allow_private=(ipaddress.ip_network("127.0.0.0/8"),)) as client:
        yield client


@pytest.mark.parametrize("cut", [[], [b"HTTP/1.1 200 O"]], ids=["no answer", "cut in the status line"])
async def test_a_fresh_connection_that_breaks_is_asked_once(client: OutboundClient, cut: Script) -> None:
    async with serve(cut) as server:
        for tries in (1, 2, 3):
            with pytest.raises(OriginUnavailable):
                await client.get(server.url(), limits=LIMITS)
            assert len(server.requests) == tries


async def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing(client: OutboundClient) -> None:
    """The server closes it as the next request arrives, as one does whose patience with idle connections is over."""
    scripts: list[Script] = [ONCE_KEPT] * 3
    async with serve(lambda _: scripts.pop(0)) as server:
        await asyncio.gather(*(client.get(server.url(), limits=LIMITS) for _ in range(3)))
        assert server.connections == 3, "three are kept"
        scripts += [[], ONCE_KEPT]
        assert (await client.get(server.url(), limits=LIMITS)).body == b"hello"
        assert (server.connections, len(server.requests)) == (4, 5), "a connection of its own, not another kept one"


async def test_a_kept_connection_that_breaks_is_followed_by_one_fresh_one(client: OutboundClient) -> None:
    scripts: list[Script] = [ONCE_KEPT]
    async with serve(lambda _: scripts.pop(0) if scripts else []) as server:
        await client.get(server.url(), limits=LIMITS)
        with pytest.raises(OriginUnavailable, match="closed before an answer"):
            await client.get(server.url(), limits=LIMITS)
        assert len(server.requests) == 3


async def test_what_is_sent_to_a_receiver_is_not_sent_twice(client: OutboundClient) -> None:
    scripts: list[Script] = [ONCE_KEPT]
    async with serve(lambda _: scripts.pop(0) if scripts else []) as server:
        await client.post(server.url(), body=b"{}", headers={}, limits=LIMITS)
        with pytest.raises(OriginUnavailable):
            await client.post(server.url(), body=b"{}", headers={}, limits=LIMITS)
        assert len(server.requests) == 2
