"""The ledger's claims: tokens, deaths, the transition table, and the reconciler's look at the books."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import ClaimLost
from app.jobs.definitions import PRODUCT_FAMILY
from app.persistence import dispatching, ledger, runs
from app.persistence.failures import StatementRefused
from app.persistence.ledger import MAX_DEATHS, SUSPECT_DEATHS, ClaimedJob, NewJob, RunOptions
from app.persistence.runs import starting
from app.states import TRANSITIONS
from app.sync.operating.start import StartRequest, start_runs
from tests.support.stack import Stack


async def make_jobs(stack: Stack, count: int) -> list[str]:
    """A queued run with so many family jobs."""
    jobs = [NewJob(f"job-{number}", PRODUCT_FAMILY, f"key-{number}", {"family_sku": "x"}) for number in range(count)]
    async with stack.services.database.begin() as db:
        supplier = await db.scalar(text("SELECT min(id) FROM suppliers"))
        run = await runs.start_run(
            db,
            run_id=str(uuid4()),
            supplier_id=supplier,
            job_id="job-0",
            mode="queued",
            trigger="api",
            options=RunOptions(force=True),
        )
        added = await ledger.add_jobs(db, jobs, run_id=run.run_id, supplier_id=supplier, direct=False)
        await db.execute(text("UPDATE runs SET open_jobs = :count"), {"count": count})
    return sorted(added)


async def claim(stack: Stack, ids: list[str]) -> tuple[list[ClaimedJob], list[ledger.Unclaimed]]:
    async with stack.services.database.quick() as db:
        return await ledger.claim(db, ids, queue=PRODUCT_FAMILY)


async def execute(stack: Stack, sql: str, **params: Any) -> None:
    async with stack.services.database.begin() as db:
        await db.execute(text(sql), params)


async def test_a_run_that_ends_between_two_looks_is_in_nobodys_way(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when the new one was to be written, and is over when it is looked for."""
    await make_jobs(stack, 1)
    execute_as_ever, ended = AsyncConnection.execute, asyncio.Event()

    async def ending_it_first(db: AsyncConnection, statement: Any, *args: Any, **options: Any) -> Any:
        if str(statement) == starting.OTHER_RUN and not ended.is_set():
            ended.set()
            await execute(stack, "UPDATE runs SET status = 'cancelled', open_jobs = 0, finished_at = now()")
        return await execute_as_ever(db, statement, *args, **options)

    monkeypatch.setattr(AsyncConnection, "execute", ending_it_first)
    code = await stack.value("SELECT code FROM suppliers ORDER BY id LIMIT 1")
    (started,) = await start_runs(stack.services, StartRequest(code), "queued")
    assert (started.started, ended.is_set()) == (True, True)


async def test_jobs_claimed_together_share_a_token_and_a_second_claim_voids_it(stack: Stack) -> None:
    ids = await make_jobs(stack, 3)
    first, _ = await claim(stack, ids)
    assert len({job.claim for job in first}) == 1
    assert first[0].options == RunOptions(force=True)
    second, _ = await claim(stack, ids)
    async with stack.services.database.begin() as db:
        with pytest.raises(ClaimLost):
            await ledger.fence(db, first[0])
        with pytest.raises(ClaimLost):
            await ledger.checkpoint(db, first[0])
        assert await ledger.complete(db, [(job, None) for job in first]) == set()
        assert await ledger.complete(db, [(job, None) for job in second[:2]]) == set(ids[:2])
    assert await stack.value("SELECT count(*) FROM jobs WHERE state = 'completed'") == 2


async def test_a_job_is_lost_when_another_has_it_or_it_is_cancelled_and_not_when_it_has_ended(stack: Stack) -> None:
    """Whoever ended it may be about to send what it made, and must not be stopped at that."""
    ids = await make_jobs(stack, 4)
    mine, _ = await claim(stack, ids)
    await claim(stack, ids[:1])
    await execute(stack, "UPDATE jobs SET state = 'cancelled', claim = NULL WHERE id = :id", id=ids[1])
    async with stack.services.database.begin() as db:
        await ledger.complete(db, [(mine[2], None)])
    async with stack.services.database.quick() as db:
        assert await ledger.lost(db, mine) == set(ids[:2])


async def test_what_a_job_waited_for_is_not_its_error_once_it_is_claimed_again(stack: Stack) -> None:
    ids = await make_jobs(stack, 2)
    mine, _ = await claim(stack, ids)
    async with stack.services.database.begin() as db:
        await ledger.delay(db, mine[0], "the attempt's own", 0.0)
        await ledger.hand_back(db, [mine[1]], "a host is left alone\x00")
    first, _ = await claim(stack, ids[:1])
    assert await stack.value("SELECT error FROM jobs WHERE id = :id", id=ids[1]) == "a host is left alone�"
    async with stack.services.database.begin() as db:
        await ledger.hand_back(db, first, "a host is left alone")
    await claim(stack, ids)
    told = [row["error"] for row in await stack.rows("SELECT error FROM jobs ORDER BY id")]
    assert told == ["the attempt's own", None]


async def test_from_the_third_death_on_a_job_starts_apart_and_with_the_tenth_it_is_over(stack: Stack) -> None:
    ids = await make_jobs(stack, 1)
    started, refused = 0, 0
    for _ in range(40):
        claimed, unclaimed = await claim(stack, ids)
        if claimed and claimed[0].deaths >= MAX_DEATHS:
            break
        started += len(claimed)
        refused += len(unclaimed)
        assert all(1000 <= one.wait_ms <= 3000 for one in unclaimed)
        await execute(stack, "UPDATE jobs SET run_at = clock_timestamp()")
    assert (started, refused) == (MAX_DEATHS, MAX_DEATHS - SUSPECT_DEATHS)
    assert claimed[0].deaths == MAX_DEATHS


async def test_progress_forgives_deaths(stack: Stack) -> None:
    ids = await make_jobs(stack, 1)
    await claim(stack, ids)
    ((job,), _) = await claim(stack, ids)
    assert job.deaths == 1
    async with stack.services.database.begin() as db:
        await ledger.checkpoint(db, job)
    assert await stack.value("SELECT deaths FROM jobs") == 0


async def test_what_may_not_be_claimed_is_told_apart(stack: Stack) -> None:
    ids = await make_jobs(stack, 4)
    await execute(stack, "UPDATE jobs SET run_at = clock_timestamp() + interval '60 s' WHERE id = :id", id=ids[0])
    await execute(stack, "UPDATE jobs SET state = 'cancelled' WHERE id = :id", id=ids[1])
    await execute(stack, "UPDATE jobs SET direct = true WHERE id = :id", id=ids[2])
    claimed, unclaimed = await claim(stack, [*ids, "unknown"])
    assert [job.id for job in claimed] == [ids[3]]
    told = {one.id: one for one in unclaimed}
    assert {one.id for one in unclaimed if one.closed} == {ids[1], ids[2], "unknown"}
    assert 55_000 < told[ids[0]].wait_ms <= 60_000
    await execute(stack, "UPDATE queues SET paused = true")
    _, unclaimed = await claim(stack, ids[3:])
    assert [(one.closed, one.paused) for one in unclaimed] == [(False, True)]


async def test_the_database_enforces_the_transition_table(stack: Stack) -> None:
    await make_jobs(stack, 1)
    wrong = [
        (old, new)
        for old, new in itertools.product(TRANSITIONS, repeat=2)
        if await _may_go(stack, old, new) is not (old == new or new in TRANSITIONS[old])
    ]
    assert wrong == []


async def _may_go(stack: Stack, old: str, new: str) -> bool:
    await execute(stack, "ALTER TABLE jobs DISABLE TRIGGER jobs_transition")
    await execute(stack, "UPDATE jobs SET state = :old, error = 'x'", old=old)
    await execute(stack, "ALTER TABLE jobs ENABLE TRIGGER jobs_transition")
    try:
        await execute(stack, "UPDATE jobs SET state = :new", new=new)
    except StatementRefused as error:
        return f"may not go from {old} to {new}" not in str(error)
    return True


async def test_a_run_whose_books_do_not_balance_is_found(stack: Stack) -> None:
    await make_jobs(stack, 2)
    async with stack.services.database.quick() as db:
        assert await dispatching.drifted_runs(db) == []
    await execute(stack, "UPDATE runs SET open_jobs = 7")
    async with stack.services.database.quick() as db:
        ((_, says, counted),) = await dispatching.drifted_runs(db)
    assert (says, counted) == (7, 2)


async def test_an_error_is_kept_bounded_with_a_word_on_what_was_cut(stack: Stack) -> None:
    ((job,), _) = await claim(stack, await make_jobs(stack, 1))
    async with stack.services.database.begin() as db:
        assert await ledger.delay(db, job, "x\x00" + "y" * 5_000, 0)
    (row,) = await stack.rows("SELECT error, errors, attempts, state FROM jobs")
    assert len(row["error"]) < 2_100
    assert row["error"].endswith("(3002 more characters)")
    assert (row["errors"][0]["attempt"], row["attempts"], row["state"]) == (1, 1, "delayed")
