"""The budget of requests to an origin host, shared by several processes' parts through a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.coordination.budget import OriginBudget
from app.errors import NoPlace
from tests.support.stack import Servers, own_valkey

HOST = "images.example:443"


@dataclass
class Origin:
    """Counts what arrives, and says 429 for as long as it is told to."""

    latency_s: float = 0.02
    refuses_until: float = 0.0
    retry_after_s: float | None = None
    now: int = 0
    most: int = 0
    started: list[float] = field(default_factory=list)
    refused: int = 0

    async def request(self, budget: OriginBudget) -> bool:
        """One request; False when it was refused."""
        async with budget.slot(HOST) as slot:
            self.now += 1
            self.most = max(self.most, self.now)
            self.started.append(time.monotonic())
            await asyncio.sleep(self.latency_s)
            self.now -= 1
            if time.monotonic() < self.refuses_until:
                self.refused += 1
                slot.note(429, self.retry_after_s)
                return False
            slot.note(200)
            return True

    async def insist(self, budget: OriginBudget) -> None:
        while not await self.request(budget):
            pass


@asynccontextmanager
async def budgets(
    servers: Servers, number: int, at_once: int, a_second: float | None = None
) -> AsyncIterator[list[OriginBudget]]:
    """As many processes' budgets, each with a connection of its own."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(number):
            redis = Redis.from_url(servers.valkey.url, socket_timeout=1, socket_connect_timeout=1)
            stack.push_async_callback(redis.aclose)
            made.append(OriginBudget(redis, most_at_once=at_once, most_a_second=a_second))
            stack.push_async_callback(made[-1].close)
        await redis.flushdb()
        yield made


async def _all(origin: Origin, parts: list[OriginBudget], each: int) -> None:
    async with asyncio.TaskGroup() as group:
        for part in parts:
            for _ in range(each):
                group.create_task(origin.insist(part))


@pytest.mark.parametrize("processes", [1, 3])
async def test_all_processes_together_stay_within_the_concurrency_and_use_it(servers: Servers, processes: int) -> None:
    async with budgets(servers, processes, at_once=10) as parts:
        origin = Origin(latency_s=0.05)
        await _all(origin, parts, each=300 // processes)
        assert 8 <= origin.most <= 10


async def test_one_that_comes_later_gets_its_part(servers: Servers) -> None:
    async with budgets(servers, 2, at_once=10) as (early, late):
        origin, other = Origin(latency_s=0.05), Origin(latency_s=0.05)
        busy = asyncio.create_task(_all(origin, [early], each=10_000))
        await asyncio.sleep(0.5)
        await _all(other, [late], each=40)
        busy.cancel()
        await asyncio.wait([busy])
        assert busy.cancelled(), "the one that came later had to wait for all of the other's"
        assert origin.most <= 10
        assert other.most <= 10


async def test_a_rate_holds_for_all_together(servers: Servers) -> None:
    async with budgets(servers, 2, at_once=40, a_second=40) as parts:
        origin = Origin(latency_s=0)
        await _all(origin, parts, each=40)
        took_s = origin.started[-1] - origin.started[0]
        assert 80 / took_s < 40 * 1.4


async def test_429_on_everything_for_a_while_costs_few_requests(servers: Servers) -> None:
    """CASES.md A11."""
    async with budgets(servers, 2, at_once=10) as parts:
        origin = Origin(refuses_until=time.monotonic() + 4)
        await _all(origin, parts, each=60)
        assert origin.refused <= 10 + 8
        assert len(origin.started) == 120 + origin.refused


async def test_the_wait_that_a_429_asks_for_is_kept_by_all(servers: Servers) -> None:
    async with budgets(servers, 2, at_once=4) as parts:
        origin = Origin(refuses_until=time.monotonic() + 0.5, retry_after_s=2.0)
        await _all(origin, parts, each=6)
        gaps = [after - before for before, after in zip(origin.started, origin.started[1:], strict=False)]
        assert max(gaps) > 1.5


async def test_who_gives_up_waiting_takes_no_place_with_them(servers: Servers) -> None:
    async with budgets(servers, 1, at_once=2) as (budget,):
        origin = Origin(latency_s=0.3)
        tasks = [asyncio.create_task(origin.request(budget)) for _ in range(20)]
        await asyncio.sleep(0.35)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        origin.latency_s, origin.now = 0.01, 0
        async with asyncio.timeout(3):
            await _all(origin, [budget], each=20)


async def test_without_redis_each_has_a_fixed_part(servers: Servers, tmp_path: Path) -> None:
    with own_valkey(servers, tmp_path) as own:
        async with budgets(own, 2, at_once=16) as parts:
            own.valkey.process.kill()
            own.valkey.process.wait(5)
            origin = Origin()
            await _all(origin, parts, each=40)
            assert 2 <= origin.most <= 8


async def test_a_single_process_without_redis_has_all_of_it() -> None:
    budget = OriginBudget(None, most_at_once=5, most_a_second=None)
    origin = Origin()
    await _all(origin, [budget], each=50)
    await budget.close()
    assert origin.most == 5


@pytest.mark.parametrize("with_redis", [True, False])
async def test_who_has_something_that_others_need_is_sent_away_until_the_pause_is_over(
    servers: Servers, with_redis: bool
) -> None:
    async with AsyncExitStack() as stack:
        if with_redis:
            (budget,) = await stack.enter_async_context(budgets(servers, 1, at_once=4))
        else:
            budget = OriginBudget(None, most_at_once=4, most_a_second=None)
        await Origin(refuses_until=time.monotonic() + 5, retry_after_s=30.0).request(budget)
        waits = [await _sent_away(budget, within_s) for within_s in (0.5, 5.0)]
        assert waits[0].kept_s < 2
        assert waits[1].kept_s < 2, "it is known by now that nobody may ask for longer than it would wait"
        assert all(25 < wait.come_back_s < 40 for wait in waits)
        said, _, until = waits[1].why.removesuffix(" UTC").partition(" until ")
        assert said == f"{HOST} answered 429, and is left alone"
        assert 20 < (datetime.fromisoformat(f"{until}+00:00") - datetime.now(UTC)).total_seconds() < 31
        async with budget.slot("elsewhere.example:443", 1.0):
            pass
        await budget.close()


async def test_one_who_waits_for_others_requests_alone_comes_back_soon() -> None:
    budget = OriginBudget(None, most_at_once=1, most_a_second=None)
    async with budget.slot(HOST):
        sent_away = await _sent_away(budget, 0.3)
    assert 0.3 <= sent_away.kept_s < 2
    assert sent_away.come_back_s < 5
    assert sent_away.why == f"{HOST} is asked as much as ORIGIN_MAX_CONCURRENCY and ORIGIN_MAX_RPS allow"
    async with budget.slot(HOST, 1.0):
        pass
    await budget.close()


@dataclass
class SentAway:
    kept_s: float
    come_back_s: float
    why: str


async def _sent_away(budget: OriginBudget, within_s: float) -> SentAway:
    began = time.monotonic()
    with pytest.raises(NoPlace) as sent_away:
        async with budget.slot(HOST, within_s):
            pass
    return SentAway(time.monotonic() - began, sent_away.value.wait_s, str(sent_away.value))
