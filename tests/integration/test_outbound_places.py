"""Each request that goes out takes a place of its host's, and a pause is the host's that asked for it."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from app.coordination.budget import OriginBudget
from app.errors import NoPlace, OriginUnavailable
from app.outbound import FetchLimits, OutboundClient
from tests.support.raw_http import KEEP, RawServer, Script, answer, serve

LIMITS = FetchLimits(max_bytes=100_000, connect_timeout_s=1, first_byte_timeout_s=1, total_timeout_s=3)
FIRST, TARGET = "first.test", "target.test"


@asynccontextmanager
async def client_within(
    *, most_at_once: int = 10, most_a_second: float | None = None
) -> AsyncIterator[tuple[OutboundClient, OriginBudget]]:
    """A client, and the budget that it keeps to; all names are this machine's."""

    async def lookup(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    budget = OriginBudget(None, most_at_once=most_at_once, most_a_second=most_a_second)
    loopback = (ipaddress.ip_network("127.0.0.0/8"),)
    async with OutboundClient(allow_private=loopback, lookup=lookup, gate=budget) as client:
        yield client, budget
    await budget.close()


def leading(to: str) -> Script:
    return [answer(status=302, Location=to), KEEP]


async def test_redirects_keep_to_the_rate() -> None:
    asked: list[float] = []

    def hop(head: str) -> Script:
        asked.append(time.monotonic())
        left = int(head.split(" ")[1].strip("/"))
        return [answer(b"end") if left == 0 else answer(status=302, Location=f"/{left - 1}"), KEEP]

    async with client_within(most_a_second=20) as (client, _), serve(hop) as server:
        await asyncio.gather(*(client.get(server.url("/2"), limits=LIMITS) for _ in range(20)))
    assert len(asked) == 60
    assert 60 / (asked[-1] - asked[0]) < 20 * 1.4


async def test_a_redirect_is_followed_where_its_host_has_one_place() -> None:
    def hop(head: str) -> Script:
        left = int(head.split(" ")[1].strip("/"))
        return [answer(b"end") if left == 0 else answer(status=302, Location=f"/{left - 1}"), KEEP]

    async with client_within(most_at_once=1) as (client, _), serve(hop) as server, asyncio.timeout(10):
        found = await asyncio.gather(*(client.get(server.url("/5"), limits=LIMITS) for _ in range(4)))
    assert {fetched.body for fetched in found} == {b"end"}


@asynccontextmanager
async def redirecting_to(script: Script) -> AsyncIterator[tuple[RawServer, RawServer]]:
    """A host that leads to another, which answers by the script."""
    async with serve(script) as target, serve(leading(target.url(host=TARGET))) as first:
        yield first, target


async def test_a_pause_is_of_the_host_that_a_redirect_leads_to() -> None:
    paused: Script = [answer(status=429, Retry_After="30"), KEEP]
    async with client_within() as (client, budget), redirecting_to(paused) as (first, target):
        with pytest.raises(OriginUnavailable, match="429"):
            await client.get(first.url(host=FIRST), limits=LIMITS)
        async with budget.slot(f"{FIRST}:{first.port}", 1.0):
            pass
        with pytest.raises(NoPlace):
            async with budget.slot(f"{TARGET}:{target.port}", 1.0):
                pass


async def test_who_is_led_to_a_host_that_wants_a_pause_is_sent_away_and_holds_nothing() -> None:
    paused: Script = [answer(status=429, Retry_After="30"), KEEP]
    async with client_within(most_at_once=1) as (client, budget), redirecting_to(paused) as (first, target):
        with pytest.raises(OriginUnavailable):
            await client.get(first.url(host=FIRST), limits=LIMITS)
        with pytest.raises(NoPlace):
            await client.get(first.url(host=FIRST), limits=LIMITS, place_within_s=1.0)
        assert len(target.requests) == 1
        async with budget.slot(f"{FIRST}:{first.port}", 1.0):
            pass


async def test_what_is_waited_for_places_is_all_hops_together_and_no_part_of_an_answers_time() -> None:
    limits = FetchLimits(max_bytes=1_000, connect_timeout_s=1, first_byte_timeout_s=1, total_timeout_s=0.4)
    async with client_within(most_at_once=1) as (client, budget), redirecting_to([answer(b"end"), KEEP]) as hosts:
        first, target = hosts

        async def hold(host: str, seconds: float) -> None:
            async with budget.slot(host):
                await asyncio.sleep(seconds)

        async def held(first_s: float, target_s: float, place_within_s: float) -> bytes:
            holding = (hold(f"{FIRST}:{first.port}", first_s), hold(f"{TARGET}:{target.port}", target_s))
            held = asyncio.gather(*holding)
            await asyncio.sleep(0.15)
            try:
                return (await client.get(first.url(host=FIRST), limits=limits, place_within_s=place_within_s)).body
            finally:
                await held

        assert await held(0.7, 1.4, 3.0) == b"end"
        with pytest.raises(NoPlace):
            await held(0.9, 1.8, 1.0)
