"""How long a batch waits for others, and when it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from app.sync.stage.batching import LOOK_S, Batcher

FOR_EVER_S = 3600.0


class Batches:
    """Answers each item with itself, and keeps what came together."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    async def work(self, items: Sequence[int]) -> list[int]:
        self.seen.append(list(items))
        return list(items)


async def test_a_batch_waits_for_those_that_are_coming_and_no_longer() -> None:
    batches, coming = Batches(), 2

    async def later() -> None:
        nonlocal coming
        await asyncio.sleep(2 * LOOK_S)
        second = asyncio.create_task(batcher.ask(2))
        await asyncio.sleep(0)
        coming = 0
        assert await second == 2

    batcher = Batcher(batches.work, linger_s=FOR_EVER_S, more_coming=lambda: coming > 0)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(batcher.ask(1))
        group.create_task(later())
    assert batches.seen == [[1, 2]]


async def test_a_full_batch_does_not_wait() -> None:
    batches = Batches()
    batcher = Batcher(batches.work, most=2, linger_s=FOR_EVER_S, more_coming=lambda: True)
    async with asyncio.timeout(30):
        await asyncio.gather(batcher.ask(1), batcher.ask(2))
    assert batches.seen == [[1, 2]]


async def test_nobody_waits_where_none_is_coming() -> None:
    batches = Batches()
    batcher = Batcher(batches.work, linger_s=FOR_EVER_S)
    async with asyncio.timeout(30):
        await batcher.ask(1)
    assert batches.seen == [[1]]


async def test_the_wait_has_an_end_although_more_are_coming() -> None:
    batches = Batches()
    batcher = Batcher(batches.work, linger_s=0.1, more_coming=lambda: True)
    began = time.monotonic()
    async with asyncio.timeout(30):
        await batcher.ask(1)
    assert time.monotonic() - began >= 0.1
    assert batches.seen == [[1]]
