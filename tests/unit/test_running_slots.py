"""The slots of one worker: what starts when, and what is held."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from uuid import uuid4

from app.persistence.ledger import ClaimedJob, RunOptions
from app.sync.running.slots import MOST_AHEAD, UNSETTLED, Running, Slots


def job(name: str) -> ClaimedJob:
    return ClaimedJob(name, "image-upload", "run", 1, None, {}, False, 0, 0, uuid4(), RunOptions())


class Crew:
    """Slots whose jobs end when they are told to."""

    def __init__(self, count: int) -> None:
        self.slots = Slots(count, self._start, self._changed)
        self.started: list[str] = []
        self.running: dict[str, Running] = {}
        self.changes = 0
        self._ends: dict[str, asyncio.Event] = {}

    async def _start(self, running: Running) -> None:
        self.started.append(running.job.id)
        self.running[running.job.id] = running
        await self._ends.setdefault(running.job.id, asyncio.Event()).wait()

    def _changed(self) -> None:
        self.changes += 1

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await turn_over()


async def turn_over() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_ready_starts_in_the_moment_in_which_a_slot_is_free() -> None:
    crew = Crew(2)
    for name in "abc":
        crew.slots.add(job(name))
    await turn_over()
    assert (crew.started, crew.slots.busy, crew.slots.has_free()) == (["a", "b"], 2, False)
    await crew.end("b")
    assert (crew.started, crew.slots.busy, crew.changes) == (["a", "b", "c"], 2, 1)
    assert sorted(crew.slots.ids) == ["a", "c"]


async def test_a_job_has_nothing_of_the_context_of_the_one_whose_slot_it_gets() -> None:
    mark: ContextVar[str | None] = ContextVar("mark", default=None)
    seen: list[str | None] = []

    async def start(running: Running) -> None:
        seen.append(mark.get())
        mark.set(running.job.id)
        slots.give_back(running)

    slots = Slots(1, start, lambda: None)
    for name in "ab":
        slots.add(job(name))
    await turn_over()
    assert seen == [None, None]


async def test_long_jobs_are_not_claimed_ahead_and_short_ones_are() -> None:
    crew = Crew(10)
    assert crew.slots.room() == 10
    crew.slots.add(job("short"))
    await turn_over()
    await crew.end("short")
    assert crew.slots.room() == 10 * (1 + MOST_AHEAD)
    crew.slots.add(job("long"))
    await turn_over()
    crew.running["long"].began_at -= 10
    await crew.end("long")
    assert crew.slots.room() == 10


async def test_what_is_ready_is_filled_up_when_half_of_it_is_gone() -> None:
    """A claim of one job costs what a claim of many does."""
    crew = Crew(1)
    crew.slots.add(job("short"))
    await turn_over()
    await crew.end("short")
    for number in range(1 + MOST_AHEAD):
        crew.slots.add(job(str(number)))
    await turn_over()
    room = []
    for number in range(1 + MOST_AHEAD):
        room.append(crew.slots.room())
        await crew.end(str(number))
    half = MOST_AHEAD // 2
    assert room == [0] * half + list(range(half, MOST_AHEAD + 1))
    assert crew.slots.room() == 1 + MOST_AHEAD


async def test_no_more_is_claimed_than_may_wait_for_its_commit() -> None:
    crew = Crew(2)
    names = [str(number) for number in range(2 * (1 + UNSETTLED + MOST_AHEAD))]
    for name in names:
        crew.slots.add(job(name))
        await turn_over()
        crew.slots.give_back(crew.running[name])
    assert crew.slots.busy == 0
    assert crew.slots.room() == 0


async def test_a_slot_is_given_back_once() -> None:
    crew = Crew(1)
    crew.slots.add(job("a"))
    await turn_over()
    for _ in range(2):
        crew.slots.give_back(crew.running["a"])
    assert crew.slots.busy == 0
    await crew.end("a")
    assert (crew.slots.busy, crew.slots.ids) == (0, [])


async def test_a_job_that_is_lost_before_its_first_step_leaves_nothing_behind() -> None:
    crew = Crew(1)
    lost = job("a")
    crew.slots.add(lost)
    crew.slots.lose(["a"], [lost])
    await turn_over()
    assert (crew.started, crew.slots.busy, crew.slots.ids) == ([], 0, [])


async def test_only_the_claim_that_was_seen_is_lost() -> None:
    crew = Crew(1)
    older, newer = job("a"), job("a")
    crew.slots.add(newer)
    await turn_over()
    crew.slots.lose(["a", "unknown"], [older])
    await turn_over()
    assert crew.slots.ids == ["a"]


async def test_a_newer_claim_of_ours_takes_the_place_of_the_older_one() -> None:
    crew = Crew(2)
    older, newer = job("a"), job("a")
    crew.slots.add(older)
    await turn_over()
    crew.slots.add(newer)
    await turn_over()
    assert crew.started == ["a", "a"]
    assert (crew.slots.jobs, crew.slots.busy) == ([newer], 1)


async def test_what_has_not_begun_can_be_handed_back() -> None:
    crew = Crew(1)
    first, second = job("a"), job("b")
    crew.slots.add(first)
    crew.slots.add(second)
    await turn_over()
    assert crew.slots.take_unstarted() == [second]
    await crew.end("a")
    assert (crew.started, crew.slots.ids) == (["a"], [])


async def test_what_waited_for_too_long_is_handed_back_and_what_is_new_is_not() -> None:
    crew = Crew(1)
    for name in "ab":
        crew.slots.add(job(name))
    await turn_over()
    assert crew.slots.take_unstarted(0.05) == []
    await asyncio.sleep(0.06)
    assert [taken.id for taken in crew.slots.take_unstarted(0.05)] == ["b"]
    assert crew.slots.ids == ["a"]


async def test_what_was_handed_back_is_not_claimed_ahead_again_at_once() -> None:
    crew = Crew(1)
    crew.slots.add(job("short"))
    await turn_over()
    await crew.end("short")
    for name in ("long", "ready"):
        crew.slots.add(job(name))
    await turn_over()
    assert crew.slots.room() > 0
    await asyncio.sleep(0.06)
    assert [taken.id for taken in crew.slots.take_unstarted(0.05)] == ["ready"]
    assert crew.slots.room() == 0
