"""Exports give way to a sync: only to one that is under way, and only where processors are short."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.api import ndjson, pacing
from app.api.pacing import Pace, Pacing
from app.sync.operating.start import StartRequest, start_queued
from tests.support.api_client import api_client
from tests.support.stack import Stack
from tests.support.waiting import eventually

PRODUCTS = "/api/v1/products"
LINES = {"Accept": "application/x-ndjson"}
WAITED = {"took_s": 0.1, "cost_s": 0.01}
"""Most of the time for a processor."""
HAD_ONE = {"took_s": 0.1, "cost_s": 0.095}


@pytest.fixture(autouse=True)
def small_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "RESTS", 0.01)
    monkeypatch.setattr(pacing, "FREE_S", 0.0)
    monkeypatch.setattr(pacing, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(pacing, "LINGERS_S", 3600.0)  # however long a busy machine takes for a look


@pytest.fixture
async def shared(stack: Stack) -> AsyncIterator[Pacing]:
    pacing_ = Pacing(stack.services.database)
    yield pacing_
    await pacing_.close()


async def test_an_export_gives_way_while_a_run_is_under_way(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment on that it is found to be beside one, processors or not."""
    rests: list[float] = []

    class Watched(Pace):
        async def rest(self) -> float:
            rests.append(await super().rest())
            return rests[-1]

    monkeypatch.setattr(pacing, "Pace", Watched)
    monkeypatch.setattr(ndjson, "PIECE_BYTES", 1)
    monkeypatch.setattr(pacing, "LINGERS_S", 0.05)
    monkeypatch.setattr(pacing, "AT_FIRST_S", 3600.0)
    await stack.sync()
    async with api_client(stack.settings) as api:

        async def rested() -> float:
            rests.clear()
            lines = (await api.http.get(PRODUCTS, headers=LINES)).text.splitlines()
            assert len(rests) >= len(lines) - 1 > 0
            return sum(rests)

        assert await rested() == 0
        (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
        await eventually(rested)
        await api.post(f"/runs/{started.run_id}/cancel")

        async def at_full_speed() -> bool:
            return await rested() == 0

        await eventually(at_full_speed)


async def test_it_goes_slow_only_where_it_waits_for_a_processor(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, shared: Pacing
) -> None:
    monkeypatch.setattr(pacing, "AT_FIRST_S", 0.0)
    async with shared.exporting(3600.0) as pace:
        pace.worked(**WAITED)
        assert await pace.rest() == 0  # nobody to give way to
        await start_queued(stack.services, StartRequest(supplier="A23"))

        async def has_seen_it() -> bool:
            pace.worked(**WAITED)
            return await pace.rest() > 0

        await eventually(has_seen_it)
        pace.worked(**HAD_ONE)
        alone = await pace.rest()
        assert alone > 0  # the rest itself is why it finds processors
        async with shared.exporting(3600.0) as second:
            second.worked(**HAD_ONE)
            assert await second.rest() == pytest.approx(2 * alone)


async def test_it_keeps_its_speed_where_processors_are_left_over(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, shared: Pacing
) -> None:
    await start_queued(stack.services, StartRequest(supplier="A23"))
    async with shared.exporting(3600.0) as pace:

        async def has_seen_it() -> bool:
            pace.worked(**HAD_ONE)
            return await pace.rest() > 0

        async def is_fast() -> bool:
            return not await has_seen_it()

        await eventually(has_seen_it)
        await eventually(is_fast)
        monkeypatch.setattr(pacing, "HELD_S", 0.1)
        pace.worked(**WAITED)
        assert await pace.rest() > 0
        await eventually(is_fast)


async def test_what_ends_without_another_run_is_given_way_no_longer(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, shared: Pacing
) -> None:
    monkeypatch.setattr(pacing, "LINGERS_S", 0.1)
    monkeypatch.setattr(pacing, "HELD_S", 3600.0)
    (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
    async with shared.exporting(3600.0) as pace:

        async def is_slow() -> bool:
            pace.worked(**WAITED)
            return await pace.rest() > 0

        async def is_fast() -> bool:
            return not await is_slow()

        await eventually(is_slow)
        async with api_client(stack.settings) as api:
            await api.post(f"/runs/{started.run_id}/cancel")
        await eventually(is_fast)


async def test_it_rests_for_a_bounded_time_and_no_more_once_it_is_late(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, shared: Pacing
) -> None:
    monkeypatch.setattr(pacing, "AT_FIRST_S", 3600.0)
    await start_queued(stack.services, StartRequest(supplier="A23"))
    async with shared.exporting(3600.0) as pace, shared.exporting(0.0) as late:

        async def has_seen_it() -> bool:
            pace.worked(1000.0, 1000.0)
            return await pace.rest() == pacing.MOST_REST_S

        await eventually(has_seen_it)
        late.worked(**HAD_ONE)
        assert await late.rest() == 0


async def test_a_small_export_is_free_and_the_next_ones_are_not(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, shared: Pacing
) -> None:
    monkeypatch.setattr(pacing, "AT_FIRST_S", 3600.0)
    await start_queued(stack.services, StartRequest(supplier="A23"))
    async with shared.exporting(3600.0) as pace:

        async def has_seen_it() -> bool:
            pace.worked(**HAD_ONE)
            return await pace.rest() > 0

        await eventually(has_seen_it)
    monkeypatch.setattr(pacing, "FREE_S", 0.2)
    monkeypatch.setattr(pacing, "FREE_EVERY_S", 0.001)
    async with shared.exporting(3600.0) as pace:
        pace.worked(**HAD_ONE)
        assert await pace.rest() == 0
        monkeypatch.setattr(pacing, "FREE_EVERY_S", 3600.0)
        pace.worked(**HAD_ONE)
        assert await pace.rest() == 0
        pace.worked(**HAD_ONE)
        assert await pace.rest() == pytest.approx((3 * HAD_ONE["cost_s"] - 0.2) * pacing.RESTS, rel=0.01)
