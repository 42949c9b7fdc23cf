"""The answers to a COMMIT that went out behind a statement: asyncpg hears of a statement, and that it is in none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app.persistence.beginning import Beginning
from app.persistence.committing import COMMIT, Behind, Committing
from tests.support.pg_messages import ERROR, NOTICE, Driver, Wire, done, message

ANSWER = message(b"2") + message(b"D", b"\x00\x01\x00\x00\x00\x01x") + message(b"C", b"UPDATE 1\x00")
IN_ONE, FAILED, IN_NONE = (message(b"Z", status) for status in (b"T", b"E", b"I"))
COMMITTED, ROLLED_BACK = message(b"C", b"COMMIT\x00"), message(b"C", b"ROLLBACK\x00")
WELL = ANSWER + IN_ONE + COMMITTED + IN_NONE


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def wire(driver: Driver) -> Wire:
    return Wire(driver)


def stand(wire: Wire, driver: Driver) -> Committing:
    committing = Committing(wire, driver)
    wire.set_protocol(committing)
    return committing


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 1000])
def test_the_driver_is_ready_once_and_in_no_transaction(driver: Driver, wire: Wire, at_once: int) -> None:
    committing = stand(wire, driver)
    assert wire.written == COMMIT
    come = WELL + NOTICE
    for start in range(0, len(come), at_once):
        wire.bring(come[start : start + at_once])
    assert driver.received == ANSWER + IN_NONE + NOTICE
    assert (committing.over, wire.protocol) == (True, driver)


def test_it_is_not_ready_before_it_is_committed(driver: Driver, wire: Wire) -> None:
    stand(wire, driver)
    wire.bring(ANSWER + IN_ONE)
    assert driver.received == ANSWER


def test_what_may_come_at_any_time_is_handed_on(driver: Driver, wire: Wire) -> None:
    stand(wire, driver)
    wire.bring(NOTICE + ANSWER + IN_ONE + NOTICE + COMMITTED + IN_NONE)
    assert driver.received == NOTICE + ANSWER + NOTICE + IN_NONE


def test_of_a_statement_that_fails_the_driver_hears_what_it_does_to_its_transaction(driver: Driver, wire: Wire) -> None:
    """One that it takes to be in none it may send again by itself."""
    committing = stand(wire, driver)
    wire.bring(ERROR + FAILED)
    assert (driver.received, committing.over) == (ERROR + FAILED, False)
    wire.bring(ROLLED_BACK + IN_NONE + ANSWER)
    assert driver.received == ERROR + FAILED + ANSWER
    assert wire.protocol is driver


def test_a_commit_that_fails_is_the_statements_failure(driver: Driver, wire: Wire) -> None:
    stand(wire, driver)
    wire.bring(ANSWER + IN_ONE + ERROR + IN_NONE)
    assert driver.received == ANSWER + ERROR + IN_NONE
    assert wire.protocol is driver


def test_where_commit_is_answered_with_something_else_the_session_ends(driver: Driver, wire: Wire) -> None:
    stand(wire, driver)
    wire.bring(ANSWER + IN_ONE + ROLLED_BACK + IN_NONE)
    assert wire.closing
    wire.lose()
    assert (driver.received, str(driver.lost[0])) == (ANSWER, "PostgreSQL answered COMMIT with something else")


@pytest.mark.parametrize("statement", [ANSWER + IN_ONE, ERROR + FAILED])
@pytest.mark.parametrize("status", [IN_ONE, FAILED])
def test_a_session_that_is_in_a_transaction_still_ends(
    driver: Driver, wire: Wire, statement: bytes, status: bytes
) -> None:
    """As where a cancellation comes late and hits the COMMIT."""
    stand(wire, driver)
    wire.bring(statement + ERROR + status)
    assert wire.closing
    wire.lose()
    assert str(driver.lost[0]) == "PostgreSQL did not end the transaction at its COMMIT"


@pytest.mark.parametrize("at_once", [1, 5, 1000])
def test_a_transaction_of_one_statement_has_both_of_them_before_the_driver(
    driver: Driver, wire: Wire, at_once: int
) -> None:
    beginning = Beginning(wire, driver, "BEGIN;")
    beginning.put_behind(Committing(wire, driver))
    come = NOTICE + done(b"BEGIN") + WELL
    for start in range(0, len(come), at_once):
        wire.bring(come[start : start + at_once])
    assert driver.received == NOTICE + ANSWER + IN_NONE
    assert wire.protocol is driver


def test_one_that_could_not_begin_ends_for_both(driver: Driver, wire: Wire) -> None:
    beginning = Beginning(wire, driver, "BEGIN;")
    beginning.put_behind(Committing(wire, driver))
    wire.bring(ERROR)
    assert wire.closing
    wire.lose()
    assert (driver.received, len(driver.lost)) == (b"", 1)


def test_an_end_of_the_connection_is_the_drivers_too(driver: Driver, wire: Wire) -> None:
    committing, lost = stand(wire, driver), OSError("gone")
    committing.pause_writing()
    committing.resume_writing()
    committing.eof_received()
    committing.connection_lost(lost)
    assert (driver.told, driver.lost) == (["pause", "resume", "eof"], [lost])


async def _nothing() -> str:
    return "at once"


async def _waits() -> str:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return "later"


async def _fails() -> str:
    await asyncio.sleep(0)
    raise ZeroDivisionError


@pytest.mark.parametrize(("what", "times"), [(_nothing, 0), (_waits, 1)])
async def test_what_is_to_follow_follows_when_it_waits_for_the_first_time(
    what: Callable[[], Coroutine[Any, Any, str]], times: int
) -> None:
    called: list[None] = []
    told = await Behind(what(), lambda: called.append(None))
    assert (told, len(called)) == ((await what()), times)


async def test_what_is_waited_for_may_fail_or_be_given_up() -> None:
    with pytest.raises(ZeroDivisionError):
        await Behind(_fails(), lambda: None)
    future = asyncio.get_running_loop().create_future()
    cleaned = []

    async def wait() -> None:
        try:
            await future
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def use() -> None:
        await Behind(wait(), lambda: None)

    task = asyncio.create_task(use())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [True]
    assert future.cancelled()
