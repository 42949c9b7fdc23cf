"""A real worker gives its memory back once it has worked and has nothing to do any more."""

from __future__ import annotations

import asyncio

import pytest

from app.jobs.definitions import SUPPLIER_SYNC, policies
from app.sync.operating.start import StartRequest, start_queued
from tests.support.stack import Stack
from workers import memory, runtime
from workers.runtime import Worker

LOOK_EVERY_S = 0.05


async def test_a_worker_gives_memory_back_after_its_work_and_not_before(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = asyncio.Event()
    monkeypatch.setattr(memory, "give_back", given.set)
    monkeypatch.setattr(runtime, "LOOK_EVERY_S", LOOK_EVERY_S)
    settings, queue = stack.services.settings, stack.services.queue
    assert queue is not None
    assert settings.redis_url is not None
    policy = policies(settings)[SUPPLIER_SYNC]
    worker = Worker(stack.services, queue, settings.redis_url.get_secret_value(), SUPPLIER_SYNC, policy)
    running = asyncio.create_task(worker.run())
    try:
        await asyncio.sleep(10 * LOOK_EVERY_S)
        assert not given.is_set(), "it has not worked yet"
        await start_queued(stack.services, StartRequest())
        async with asyncio.timeout(60):
            await given.wait()
    finally:
        worker.ask_to_stop()
        await running
