"""What is said of an outage that many loops meet, again and again."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from app.errors import DatabaseUnavailable, QueueUnavailable
from app.outages import Outages
from app.sync.running.every import every

AWAY = QueueUnavailable("Redis is away")


def test_an_outage_is_told_once_however_many_loops_meet_it() -> None:
    outages = Outages()
    with capture_logs() as said:
        for _ in range(100):
            for loop in ("exchange", "heart", "chore"):
                outages.met(loop, AWAY)
    assert [(line["event"], line["part"]) for line in said] == [("waiting for a part of ours", "Redis")]


def test_it_is_told_again_after_a_while_with_its_length() -> None:
    outages = Outages(again_after_s=0.0)
    with capture_logs() as said:
        outages.met("exchange", AWAY)
        outages.met("heart", AWAY)
    assert [line["event"] for line in said] == ["waiting for a part of ours", "still waiting"]
    assert said[1]["seconds"] == 0


def test_a_part_is_back_once_and_only_when_all_are_through() -> None:
    outages = Outages()
    outages.met("exchange", AWAY)
    outages.met("heart", AWAY)
    with capture_logs() as said:
        outages.over("exchange")
        outages.over("other")
        assert said == []
        outages.over("heart")
        outages.over("heart")
    assert [(line["event"], line["part"]) for line in said] == [("a part of ours is back", "Redis")]


def test_two_parts_are_told_apart() -> None:
    outages = Outages()
    with capture_logs() as said:
        outages.met("exchange", AWAY)
        outages.met("exchange", DatabaseUnavailable("PostgreSQL is away"))
    assert [line["part"] for line in said] == ["Redis", "PostgreSQL"]


def test_a_loop_that_was_ended_brings_nothing_back() -> None:
    outages = Outages()
    outages.met("job", AWAY)
    with capture_logs() as said:
        outages.over("job", through=False)
    assert said == []


def test_what_may_not_come_again_is_told_once_and_not_while_loops_wait() -> None:
    outages = Outages()
    with capture_logs() as said:
        outages.noted(AWAY, "messages not sent")
        outages.noted(AWAY, "messages not sent")
        outages.met("exchange", AWAY)
        outages.noted(AWAY, "messages not sent")
    assert [line["event"] for line in said] == ["messages not sent", "waiting for a part of ours"]


@pytest.mark.parametrize("turned_into", [QueueUnavailable("Redis is away"), ValueError("not in the list")])
async def test_a_task_that_is_cancelled_ends_whatever_its_cancellation_was_turned_into(turned_into: Exception) -> None:
    waits = asyncio.Event()

    async def call() -> None:
        waits.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError as error:
            raise turned_into from error

    task = asyncio.create_task(every(0.0, call))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_what_is_waited_for_for_long_is_told_with_what_was_said_last(monkeypatch: pytest.MonkeyPatch) -> None:
    outages, now = Outages(), [0.0]
    monkeypatch.setattr("app.outages.time.monotonic", lambda: now[0])
    outages.met("exchange", QueueUnavailable("Redis is away"))
    now[0] = 11.0
    outages.met("exchange", QueueUnavailable("Redis is full"))
    outages.met("job", DatabaseUnavailable("PostgreSQL is away"))
    assert outages.longer_than(10.0) == {"Redis": "Redis is full"}
    outages.over("exchange")
    assert outages.longer_than(10.0) == {}
