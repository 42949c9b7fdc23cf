"""A direct sync that is stopped, or ends with a bug: nothing of it goes on, and nothing holds its suppliers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from app.jobs.definitions import IMAGE_UPLOAD
from app.persistence import ledger, runs
from app.persistence.ledger import ClaimedJob, NewJob
from app.sync.operating.start import StartRequest, start_runs
from app.sync.running import direct, outcomes
from app.sync.running.slots import Slots
from app.sync.stage.context import Stage
from tests.support.stack import Stack
from tests.support.waiting import eventually


@pytest.fixture
async def unheard() -> AsyncIterator[list[dict[str, Any]]]:
    """What went wrong where nobody waits for it, as in a callback: a traceback on the terminal otherwise."""
    contexts: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    loop.set_exception_handler(None)


async def test_a_direct_sync_that_is_stopped_holds_its_suppliers_no_longer(stack: Stack) -> None:
    stack.server.faults.add("picture", "slow", seconds=60)
    syncing = asyncio.create_task(stack.sync())
    await eventually(lambda: asyncio.sleep(0, stack.server.log.counts.get("picture", 0) > 0))
    syncing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await syncing
    ended = await stack.rows("SELECT status, error, open_jobs, lease_until FROM runs")
    assert [(run["status"], run["open_jobs"], run["lease_until"]) for run in ended] == [("failed", 0, None)] * 2
    assert all("was stopped" in run["error"] for run in ended)
    assert await stack.value("SELECT count(*) FROM jobs WHERE state IN ('waiting', 'active', 'delayed')") == 0
    stack.server.faults.clear()
    assert [result.errors for result in await stack.sync()] == [0, 0]


async def test_jobs_that_wait_for_a_slot_do_not_begin_when_a_direct_sync_is_stopped(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, unheard: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(Slots, "_ahead", lambda self: self.count)
    stack.server.faults.add("picture", "slow", seconds=60)
    syncing = asyncio.create_task(stack.sync())
    await eventually(lambda: _claimed_ahead(stack))
    syncing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await syncing
    assert unheard == []
    assert await stack.value("SELECT count(*) FROM jobs WHERE state IN ('waiting', 'active', 'delayed')") == 0


async def test_jobs_that_wait_for_a_slot_do_not_begin_when_a_direct_sync_ends_with_a_bug(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, unheard: list[dict[str, Any]]
) -> None:
    async def failing(stage: Stage, job: ClaimedJob, *rest: Any) -> object:
        if job.queue != IMAGE_UPLOAD:
            return await outcomes.work_off(stage, job, *rest)
        await eventually(lambda: _claimed_ahead(stack))
        raise RuntimeError("a bug in settling a job")

    monkeypatch.setattr(direct, "work_off", failing)
    monkeypatch.setattr(Slots, "_ahead", lambda self: self.count)
    with pytest.raises(RuntimeError, match="settling"):
        await stack.sync()
    assert unheard == []
    assert await stack.value("SELECT count(*) FROM jobs WHERE state IN ('waiting', 'active', 'delayed')") == 0


async def _claimed_ahead(stack: Stack) -> bool:
    query = "SELECT count(*) FROM jobs WHERE state = 'active' AND queue = 'image-upload'"
    return bool(await stack.value(query) > stack.settings.concurrency_images)


async def test_what_was_on_its_way_when_a_direct_sync_was_stopped_is_closed_with_it(stack: Stack) -> None:
    """A commit that was sent and whose answer nobody waits for: it adds a job while the open ones are looked for."""
    (started,) = await start_runs(stack.services, StartRequest(supplier="A23"), "direct")
    database = stack.services.database
    async with database.begin() as late:
        await ledger.add_jobs(
            late, [NewJob("late", "product-family", "A-1@1", {})], run_id=started.run_id, supplier_id=1, direct=True
        )
        await late.execute(text("UPDATE runs SET open_jobs = open_jobs + 1 WHERE id = :id"), {"id": started.run_id})
        ending = asyncio.create_task(database.transact(lambda db: runs.end_stopped(db, started.run_id)))
        await eventually(lambda: _waits_for_a_lock(stack))
    assert await ending
    run = await stack.run("A23")
    assert (run["status"], run["open_jobs"], run["families_cancelled"]) == ("failed", 0, 1)
    assert await stack.value("SELECT state FROM jobs WHERE id = 'late'") == "cancelled"


async def _waits_for_a_lock(stack: Stack) -> bool:
    return bool(
        await stack.value("""
        SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database()""")
    )
