"""The books as the last statement: COMMIT goes out behind it far from a run's end, and what ends it is written once."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import RunCancelled
from app.jobs.definitions import IMAGE_UPLOAD
from app.persistence import ledger, runs
from app.persistence.database import Database
from app.persistence.ledger import NewJob
from app.persistence.runs import remaining
from app.persistence.statements import ask
from tests.support.ledger_rows import add_run
from tests.support.stack import Stack
from tests.support.wire import Wire, wire


@dataclass(frozen=True)
class Books:
    """Of one run, moved over a wire that counts."""

    stack: Stack
    database: Database
    counted: Wire
    run_id: str

    async def move(self, *, added: int = 0, finished: int = 0) -> int:
        """Move them by the one statement of a transaction; returns how often the server was waited for."""

        async def work(db: AsyncConnection) -> None:
            counts = Counter(images_total=added, images_uploaded=finished)
            await runs.book_each(db, [runs.Move(self.run_id, counts, added, finished)])

        before = self.counted.waits
        await self.database.transact(work)
        return self.counted.waits - before

    async def add(self, key: int) -> int:
        """Write an image job and book it, by one statement; returns how often the server was waited for."""

        async def work(db: AsyncConnection) -> None:
            job = NewJob(ledger.new_job_id(IMAGE_UPLOAD), IMAGE_UPLOAD, str(key), {})
            supplier_id = await self.stack.value("SELECT supplier_id FROM runs")
            await runs.book_with_jobs(db, (self.run_id, supplier_id, False), Counter(), [job], counted="images_total")

        before = self.counted.waits
        await self.database.transact(work)
        return self.counted.waits - before

    async def row(self) -> dict[str, Any]:
        (row,) = await self.stack.rows("SELECT status, open_jobs, images_total, images_uploaded FROM runs")
        return row


@pytest.fixture
async def books(stack: Stack) -> AsyncIterator[Books]:
    run_id = await add_run(stack, status="running")
    assert stack.settings.database_url is not None
    async with wire(stack.settings.database_url.get_secret_value()) as counted:
        database = Database(counted.url, pool_size=1)
        yield Books(stack, database, counted, run_id)
        await database.close()


async def test_what_adds_jobs_ends_no_run_and_waits_once(books: Books) -> None:
    await books.move(added=1)
    assert [await books.move(added=1) for _ in range(3)] == [1, 1, 1]
    assert await books.row() == {"status": "running", "open_jobs": 4, "images_total": 4, "images_uploaded": 0}


async def test_what_ends_jobs_waits_for_its_commit_near_the_end_alone(books: Books) -> None:
    await books.move(added=remaining.NEAR + 5)
    await books.move(finished=1)
    waits = [await books.move(finished=1) for _ in range(6)]
    assert waits[:3] == [1, 1, 1]
    assert waits[5:] == [2], "the end may be near"


async def test_a_run_of_which_nothing_is_known_may_be_at_its_end(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    await books.move(added=500)
    await books.move(finished=1)
    monkeypatch.setattr(remaining, "_seen", OrderedDict())
    assert await books.move(finished=1) >= 2
    assert await books.move(finished=1) == 1


def far_from_its_end(run_id: str) -> None:
    """As a process has it in mind that did not see how others ended nearly all."""
    remaining.note_open(run_id, 10_000)


@pytest.mark.parametrize("think", [far_from_its_end, lambda _: None])
async def test_the_end_is_written_once_whatever_was_thought(books: Books, think: Callable[[str], None]) -> None:
    await books.move(added=3)
    for _ in range(3):
        think(books.run_id)
        await books.move(finished=1)
    assert await books.row() == {"status": "completed", "open_jobs": 0, "images_total": 3, "images_uploaded": 3}


async def test_nothing_is_added_to_a_run_that_is_being_cancelled(books: Books) -> None:
    assert [await books.move(added=1) for _ in range(2)][1:] == [1]
    assert [await books.add(key) for key in range(2)][1:] == [1]
    async with books.database.begin() as db:
        await ask(db, "UPDATE runs SET status = 'cancelling'")
    with pytest.raises(RunCancelled):
        await books.move(added=1)
    with pytest.raises(RunCancelled):
        await books.add(2)
    assert (await books.row())["open_jobs"] == 4
    assert await books.stack.value("SELECT count(*) FROM jobs") == 2
    far_from_its_end(books.run_id)
    await books.move(finished=4)
    assert await books.row() == {"status": "cancelled", "open_jobs": 0, "images_total": 4, "images_uploaded": 4}


def test_runs_that_nobody_moved_for_long_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remaining, "_seen", OrderedDict())
    monkeypatch.setattr(remaining, "MOST_KEPT", 3)
    for number in range(4):
        remaining.note_open(str(number), 10_000)
        remaining.note_open("0", 10_000)
    assert [number for number in "0123" if not remaining.may_end(number, -1)] == ["0", "2", "3"]
