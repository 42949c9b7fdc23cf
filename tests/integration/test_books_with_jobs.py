"""Jobs written and booked in one statement: counted once each, whoever else books at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from app.errors import RunCancelled
from app.jobs.definitions import IMAGE_UPLOAD
from app.persistence import ledger, runs
from app.persistence.ledger import NewJob, Owner
from tests.support.ledger_rows import add_run
from tests.support.stack import Stack


@pytest.fixture
async def owner(stack: Stack) -> Owner:
    """A run under way."""
    run_id = await add_run(stack, status="running")
    return run_id, await stack.value("SELECT supplier_id FROM runs"), False


async def add(stack: Stack, owner: Owner, keys: Sequence[int], counts: Counter[str] | None = None) -> list[str]:
    jobs = [NewJob(ledger.new_job_id(IMAGE_UPLOAD), IMAGE_UPLOAD, str(key), {}) for key in keys]
    async with stack.services.database.begin() as db:
        return await runs.book_with_jobs(db, owner, counts or Counter(), jobs, counted="images_total")


async def books(stack: Stack) -> tuple[int, int, int, int]:
    (run,) = await stack.rows("SELECT open_jobs, images_total, documents_fetched FROM runs")
    jobs = await stack.value("SELECT count(*) FROM jobs")
    return run["open_jobs"], run["images_total"], run["documents_fetched"], jobs


async def test_what_is_new_is_written_counted_and_told(stack: Stack, owner: Owner) -> None:
    first = await add(stack, owner, [1, 2], Counter(documents_fetched=1))
    second = await add(stack, owner, [2, 3])
    assert await add(stack, owner, [1, 2, 3]) == []
    assert await add(stack, owner, [], Counter(documents_fetched=4)) == []
    assert (len(first), len(second)) == (2, 1)
    assert sorted(first + second) == [row["id"] for row in await stack.rows("SELECT id FROM jobs ORDER BY id")]
    assert await books(stack) == (3, 3, 5, 3)


async def test_many_at_once_lose_and_double_nothing(stack: Stack, owner: Owner) -> None:
    """Each waits for the run's row, and is computed anew when it has it."""
    batches = [[number, number + 1] for number in range(60)]
    told = await asyncio.gather(*(add(stack, owner, batch, Counter(documents_fetched=1)) for batch in batches))
    assert len({job_id for ids in told for job_id in ids}) == sum(map(len, told)) == 61
    assert await books(stack) == (61, 61, 60, 61)


async def test_nothing_is_added_to_a_run_that_is_being_cancelled(stack: Stack, owner: Owner) -> None:
    async with stack.services.database.begin() as db:
        await db.execute(text("UPDATE runs SET status = 'cancelling'"))
    with pytest.raises(RunCancelled):
        await add(stack, owner, [1])
    assert await books(stack) == (0, 0, 0, 0)
