"""What each minute came to: written once by whoever comes first, from counters, and forgotten after fourteen days."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from app.persistence.database import Database
from app.persistence.migrations import migrate
from app.persistence.minutes import QueueSpan, queue_spans, service_span
from app.sync.upkeep.minutes import write_minutes
from app.sync.upkeep.queue_numbers import fold_queue_numbers
from app.sync.upkeep.retention import forget_old
from tests.support.databases import database_named, execute
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.stack import Servers, Stack, open_stack

A_MINUTE_AGO = "UPDATE minutes_head SET minute = minute - interval '1 min'"
CLAIM = "UPDATE jobs SET state = 'active', claim = gen_random_uuid() WHERE state = 'waiting' AND key LIKE :key"
END = "UPDATE jobs SET state = '{}', claim = NULL, error = 'away', finished_at = now() WHERE state = 'active'"
OLD = """
INSERT INTO queue_minutes SELECT now() - n * interval '7 hours', 'image-upload', 1, 0, 1, 0, 0
FROM generate_series(1, 100) n
"""
BEFORE_THE_UPGRADE = (
    "INSERT INTO suppliers (code, document_id, name) VALUES ('A23', 'A23', 'A23')",
    """
    INSERT INTO runs (id, supplier_id, mode, trigger, status, supplier_job_id)
    SELECT gen_random_uuid(), id, 'queued', 'api', 'running', 'none' FROM suppliers""",
)
JOBS_THAT_ENDED = """
INSERT INTO jobs (id, queue, run_id, supplier_id, key, args, state, finished_at)
SELECT '{0}-' || n, 'image-upload', r.id, r.supplier_id, '{0}-' || n, '{{}}', 'completed', now()
FROM runs r, generate_series(1, {1}) n
"""
FOLD_OF_0010 = (
    """
    INSERT INTO queue_totals (queue, state, jobs)
    SELECT queue, state, sum(jobs) FROM queue_moves GROUP BY queue, state""",
    "DELETE FROM queue_moves",
)


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as opened:
        yield opened


async def do(stack: Stack, *statements: str, **values: object) -> None:
    async with stack.services.database.begin() as db:
        for statement in statements:
            await db.execute(text(statement), values)


async def newest(stack: Stack, queue: str) -> QueueSpan:
    async with stack.services.database.read() as db:
        return [span for span in await queue_spans(db, span_s=86_400, bar_s=60) if span.queue == queue][-1]


async def minute(stack: Stack) -> None:
    """A minute ends, and each of three processes would write it."""
    await do(stack, "DELETE FROM queue_minutes", "DELETE FROM service_minutes", A_MINUTE_AGO)
    await asyncio.gather(*[write_minutes(stack.services.database) for _ in range(3)])


async def test_a_minute_is_written_once_with_what_it_added_whether_folded_deleted_or_retried(stack: Stack) -> None:
    run = await add_run(stack, status="running")
    await add_jobs(stack, run, queue="image-upload", state="completed", count=7)
    await minute(stack)
    assert (await newest(stack, "image-upload")).done == 7, "the first minute of a new database has what it did"
    await add_jobs(stack, run, queue="image-upload", state="waiting", count=4)
    await do(stack, CLAIM, END.format("completed"), "DELETE FROM jobs WHERE state = 'completed'", key="%")
    await add_jobs(stack, run, queue="image-upload", state="failed", count=2)
    await fold_queue_numbers(stack.services.database)
    await add_jobs(stack, run, queue="image-upload", state="waiting", count=3)
    await do(stack, "UPDATE jobs SET created_at = now() - interval '90 s' WHERE state = 'waiting'")
    await minute(stack)
    found = await newest(stack, "image-upload")
    assert (found.done, found.failed, found.waiting, found.oldest_s >= 90) == (4, 2, 3, True)
    assert await stack.value("SELECT count(*) FROM queue_minutes") == 3, "one row a queue"
    await write_minutes(stack.services.database)
    await minute(stack)
    assert (await newest(stack, "image-upload")).done == 0, "nothing is counted twice"


async def test_jobs_of_before_the_upgrade_are_of_no_minute(servers: Servers) -> None:
    """0010 knew totals and no `gained`: what its programs did long ago is not done in the first minute of ours."""
    name = "upgraded_with_jobs"
    await execute(servers.postgres.url, f"CREATE DATABASE {name}")
    database = Database(database_named(servers.postgres.url, name))
    try:
        await migrate(database, "0010")
        async with database.begin() as db:
            for statement in (*BEFORE_THE_UPGRADE, JOBS_THAT_ENDED.format("old", 1000), *FOLD_OF_0010):
                await db.execute(text(statement))
        await migrate(database)
        async with database.begin() as db:
            await db.execute(text(A_MINUTE_AGO))
            await db.execute(text(JOBS_THAT_ENDED.format("new", 3)))
        await write_minutes(database)
        async with database.read() as db:
            found = [span.done for span in await queue_spans(db, span_s=86_400, bar_s=60) if span.done]
        assert found == [3]
    finally:
        await database.close()
        await execute(servers.postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_runs_and_bytes_are_those_that_came_since(stack: Stack) -> None:
    await do(stack, "DELETE FROM runs")
    await minute(stack)
    await stack.sync()
    await do(stack, "UPDATE runs SET finished_at = date_trunc('minute', now()) - interval '10 s'")
    await minute(stack)
    async with stack.services.database.read() as db:
        span = await service_span(db, span_s=3600)
    stored = await stack.rows("SELECT count(*) AS pictures, CAST(sum(size_bytes) AS bigint) AS bytes FROM media")
    ended = await stack.value("SELECT count(*) FROM runs WHERE finished_at IS NOT NULL")
    assert (span.runs, span.runs_failed, span.pictures, span.bytes) == (
        ended, 0, stored[0]["pictures"], stored[0]["bytes"],
    )  # fmt: skip
    await minute(stack)
    async with stack.services.database.read() as db:
        assert (await service_span(db, span_s=3600)).bytes == 0


async def test_minutes_are_forgotten_after_fourteen_days(stack: Stack) -> None:
    await do(stack, "DELETE FROM queue_minutes", OLD)
    await forget_old(stack.services)
    assert await stack.value("SELECT count(*) FROM queue_minutes") == 47 == (14 * 24 - 1) // 7
    assert await stack.value("SELECT min(minute) > now() - interval '14 days' FROM queue_minutes")
