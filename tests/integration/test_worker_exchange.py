"""A worker's rounds: what was claimed is worked off, whatever goes wrong beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import DatabaseUnavailable
from app.jobs.definitions import SUPPLIER_SYNC
from app.sync.operating.by_hand import cancel_run
from app.sync.operating.start import StartRequest, start_queued
from app.sync.running.slots import Running, Slots
from app.sync.stage.context import Stage
from app.sync.stage.progress import ProgressBoard
from tests.support.stack import Stack
from workers import exchange
from workers.exchange import Exchange


async def test_jobs_claimed_beside_a_cancelled_one_begin_although_that_cannot_be_closed_yet(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    async def begin(running: Running) -> None:
        begun.append(running.job.id)

    async def away(*_: Any) -> None:
        raise DatabaseUnavailable("PostgreSQL is away")

    kept, cancelled = await start_queued(stack.services, StartRequest())
    await cancel_run(stack.services, cancelled.run_id)
    monkeypatch.setattr(exchange, "end_cancelled", away)
    queue = stack.services.queue
    assert queue is not None
    slots = Slots(5, begin, lambda: None)
    surroundings = Stage(stack.services, queue, ProgressBoard(stack.services.database))
    rounds = Exchange(surroundings, queue, SUPPLIER_SYNC, "worker", slots, lease_ms=60_000, takes_no_more=lambda: False)
    with pytest.raises(DatabaseUnavailable):
        await rounds.round()
    await asyncio.gather(*slots.tasks)
    assert begun == [kept.job_id]
