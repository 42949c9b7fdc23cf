"""Forgetting what is old looks at what has grown old since, not at all that is kept."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.images.store_local import INCOMING, LocalStore
from app.persistence import job_verbs, queue_numbers, retention
from app.persistence.failures import StatementRefused
from app.sync.upkeep.retention import forget_old
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.plans import look_anew_for_each_row
from tests.support.stack import Servers, Stack, open_stack

AGE_S = 86_400.0
OLD = "UPDATE runs SET created_at = created_at - interval '3 days', finished_at = finished_at - interval '3 days'"


@pytest.fixture
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as opened:
        yield opened


async def write(stack: Stack, statement: str) -> None:
    async with stack.services.database.begin() as db:
        await db.execute(text(statement))


async def thin(stack: Stack) -> int:
    async with stack.services.database.begin() as db:
        return await retention.delete_completed_jobs(db, AGE_S)


async def states(stack: Stack) -> list[str]:
    return [row["state"] for row in await stack.rows("SELECT state FROM jobs ORDER BY state")]


async def test_an_old_run_is_thinned_once_and_again_after_a_repair(stack: Stack) -> None:
    run = await add_run(stack)
    await add_jobs(stack, run, queue="image-upload", state="completed", count=3)
    (failed,) = await add_jobs(stack, run, queue="image-upload", state="failed")
    await write(stack, OLD)
    await add_run(stack)  # a newer one, or the old one would stay as it is
    assert await thin(stack) == 4, "three jobs, and the run's mark"
    assert await states(stack) == ["failed"], "what failed stays as long as its run"
    assert await thin(stack) == 0

    async with stack.services.database.begin() as db:
        assert await job_verbs.reopen(db, "image-upload", [failed])
    assert await thin(stack) == 0, "it is being repaired"
    await write(stack, "UPDATE jobs SET state = 'active', claim = gen_random_uuid()")
    await write(stack, "UPDATE jobs SET state = 'completed', claim = NULL, finished_at = now()")
    await write(
        stack, "UPDATE runs SET open_jobs = 0, repaired_at = now() - interval '2 days' WHERE jobs_forgotten IS FALSE"
    )
    assert await thin(stack) > 0
    assert await states(stack) == []


OLD_ROWS = {
    "removals": """INSERT INTO media_removals (sha256, removals, until)
        SELECT decode(lpad(to_hex(n), 64, '0'), 'hex'), 1, now() - interval '9 days' FROM generate_series(1, 7) n""",
    "idempotency keys": """INSERT INTO idempotency_keys (caller, key, body_sha256, created_at)
        SELECT 'somebody', CAST(n AS text), '', now() - interval '9 days' FROM generate_series(1, 7) n""",
    "deliveries": """INSERT INTO deliveries (id, webhook_id, event, run_id, payload, state, created_at)
        SELECT gen_random_uuid(), gen_random_uuid(), 'run.finished', gen_random_uuid(), '', 'delivered',
            now() - interval '9 days' FROM generate_series(1, 7) n""",
    "minutes": """INSERT INTO queue_minutes (minute, queue, done, failed, waiting, active, oldest_s)
        SELECT now() - interval '900 days' + make_interval(mins => n), 'image-upload', 0, 0, 0, 0, 0
        FROM generate_series(1, 7) n""",
    "moves": """INSERT INTO queue_moves (queue, state, jobs)
        SELECT 'image-upload', 'waiting', 0 FROM generate_series(1, 7)""",
}
FORGETTING: dict[str, Callable[[AsyncConnection], Awaitable[int]]] = {
    "removals": retention.delete_removals,
    "idempotency keys": retention.delete_idempotency_keys,
    "deliveries": lambda db: retention.delete_deliveries(db, AGE_S),
    "minutes": retention.delete_minutes,
    "moves": queue_numbers.fold_moves,
}


@pytest.mark.parametrize("what", FORGETTING)
async def test_a_batch_is_no_larger_whatever_plan_postgresql_chooses(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(queue_numbers, "MOST", 2)
    async with stack.services.database.begin() as db:
        await db.execute(text("SET LOCAL session_replication_role = replica"))  # rows without those that they belong to
        await db.execute(text(OLD_ROWS[what]))
        await look_anew_for_each_row(db)
        assert await FORGETTING[what](db) == 2


async def test_a_run_of_many_jobs_is_thinned_batch_by_batch(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 4)
    monkeypatch.setattr(retention, "MOST_RUNS", 1)
    for _ in range(2):
        await add_jobs(stack, await add_run(stack), queue="image-upload", state="completed", count=6)
    await write(stack, OLD)
    await add_run(stack)
    assert [await thin(stack) for _ in range(5)] == [4, 2 + 1, 4, 2 + 1, 0]


async def test_notes_of_removed_pictures_and_unfinished_files_end_too(stack: Stack) -> None:
    assert isinstance(stack.services.store, LocalStore)
    await stack.services.store.check()
    folder: Path = stack.settings.data_dir / "media" / INCOMING
    old, young = folder / "old", folder / "young"
    for file in (old, young):
        file.write_bytes(b"half a picture")
    os.utime(old, (time.time() - 2 * AGE_S,) * 2)
    await write(
        stack,
        "INSERT INTO media_removals (sha256, removals, until) VALUES "
        "('a', 1, now() - interval '2 days'), ('b', 1, now() - interval '1 hour')",
    )
    await forget_old(stack.services)
    assert await asyncio.to_thread(os.listdir, folder) == ["young"]
    assert [bytes(row["sha256"]) for row in await stack.rows("SELECT sha256 FROM media_removals")] == [b"b"]


async def test_one_kind_that_fails_does_not_keep_the_others(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(db: AsyncConnection, _: float) -> int:
        await db.execute(text("SELECT clock_timestamp() - make_interval(days => 9999999)"))
        return 0

    monkeypatch.setattr(retention, "move_feed_start", fail)
    await write(
        stack, "INSERT INTO media_removals (sha256, removals, until) VALUES ('a', 1, now() - interval '2 days')"
    )
    with pytest.raises(StatementRefused):
        await forget_old(stack.services)
    assert await stack.rows("SELECT sha256 FROM media_removals") == []
