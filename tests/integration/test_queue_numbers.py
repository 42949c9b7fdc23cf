"""The numbers of the queues are those of the jobs, whatever made, moved or deleted them, however they are folded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from app.jobs.definitions import QUEUES
from app.persistence.job_lists import count_jobs
from app.sync.upkeep.queue_numbers import fold_queue_numbers
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.stack import Servers, Stack, open_stack

COUNTED = "SELECT queue, state, count(*) AS number FROM jobs WHERE NOT direct GROUP BY queue, state"
STATEMENTS = {
    "claimed": "UPDATE jobs SET state = 'active', claim = gen_random_uuid() WHERE state = 'waiting'",
    "given back": "UPDATE jobs SET state = 'delayed', claim = NULL WHERE state = 'active' AND key LIKE '%-2'",
    "ended": "UPDATE jobs SET state = 'completed', claim = NULL, finished_at = now() WHERE state = 'active'",
    "cancelled": "UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE state = 'delayed'",
    "nothing moved": "UPDATE jobs SET result = '{}'",
    "nothing met": "DELETE FROM jobs WHERE id = 'none'",
    "deleted": "DELETE FROM jobs WHERE state = 'cancelled' AND queue = 'image-upload'",
    "gone with their run": "DELETE FROM runs",
}


@pytest.fixture
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as opened:
        yield opened


async def assert_numbers_are_those_of_jobs(stack: Stack) -> None:
    async with stack.services.database.read() as db:
        numbers = await count_jobs(db, QUEUES)
        counted = (await db.execute(text(COUNTED))).all()
    told = {(queue, state): n for queue, found in numbers.items() for state, n in found.states.items()}
    assert told == {(row.queue, row.state): row.number for row in counted}


async def test_whatever_moves_jobs_moves_the_numbers(stack: Stack) -> None:
    run = await add_run(stack, status="running")
    for queue, state in (("product-family", "waiting"), ("image-upload", "waiting"), ("image-upload", "failed")):
        await add_jobs(stack, run, queue=queue, state=state, count=5)
    await add_jobs(stack, run, queue="product-family", state="waiting", direct=True)
    await assert_numbers_are_those_of_jobs(stack)
    for number, statement in enumerate(STATEMENTS.values()):
        async with stack.services.database.begin() as db:
            await db.execute(text(statement))
        await assert_numbers_are_those_of_jobs(stack)
        if number % 2:
            await fold_queue_numbers(stack.services.database)
            await assert_numbers_are_those_of_jobs(stack)
    assert await stack.value("SELECT count(*) FROM jobs") == 0


async def test_what_is_rolled_back_moved_nothing(stack: Stack) -> None:
    run = await add_run(stack, status="running")
    await add_jobs(stack, run, queue="image-upload", state="waiting", count=3)
    async with stack.services.database.begin() as db:
        await db.execute(text(STATEMENTS["claimed"]))
        await db.rollback()
    await assert_numbers_are_those_of_jobs(stack)


async def test_any_number_may_fold_at_once_beside_jobs_that_move(stack: Stack) -> None:
    run = await add_run(stack, status="running")

    async def move() -> None:
        for _ in range(5):
            await add_jobs(stack, run, queue="image-upload", state="waiting", count=2)

    async def fold() -> None:
        for _ in range(10):
            await fold_queue_numbers(stack.services.database)
            await assert_numbers_are_those_of_jobs(stack)

    await asyncio.gather(move(), move(), fold(), fold(), fold())
    await fold_queue_numbers(stack.services.database)
    await assert_numbers_are_those_of_jobs(stack)
    assert await stack.value("SELECT count(*) FROM queue_moves") == 0
