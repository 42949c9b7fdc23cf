"""The answers to a BEGIN that nobody waited for are dropped, however they come, and nothing else is."""

from __future__ import annotations

import asyncio

import pytest

from app.persistence.beginning import SYNC, Beginning, NotBegun
from tests.support.pg_messages import ERROR, NOTICE, Driver, Wire, done, message

STATEMENTS = "BEGIN;SET LOCAL synchronous_commit TO DEFAULT;"


BEGUN = done(b"BEGIN") + done(b"SET")
ROWS = (
    message(b"2") + message(b"D", b"\x00\x01\x00\x00\x00\x01x") + message(b"C", b"SELECT 1\x00") + message(b"Z", b"T")
)


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def wire(driver: Driver) -> Wire:
    return Wire(driver)


def test_what_is_sent_is_each_statement_without_a_sync(driver: Driver, wire: Wire) -> None:
    Beginning(wire, driver, STATEMENTS)
    kinds, rest = b"", wire.written
    while rest:
        kinds += rest[:1]
        rest = rest[1 + int.from_bytes(rest[1:5], "big") :]
    assert kinds == b"PBEPBE"
    assert b"\x00BEGIN\x00" in wire.written
    assert b"\x00SET LOCAL synchronous_commit TO DEFAULT\x00" in wire.written


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 1000])
def test_what_follows_is_the_drivers_in_pieces_of_whatever_size(driver: Driver, wire: Wire, at_once: int) -> None:
    beginning = Beginning(wire, driver, STATEMENTS)
    come = BEGUN + ROWS
    for start in range(0, len(come), at_once):
        wire.bring(come[start : start + at_once])
    assert driver.received == ROWS
    assert beginning.over
    assert wire.protocol is driver


def test_what_may_come_at_any_time_is_handed_on(driver: Driver, wire: Wire) -> None:
    Beginning(wire, driver, STATEMENTS)
    wire.bring(NOTICE + done(b"BEGIN") + NOTICE + done(b"SET") + ROWS)
    assert driver.received == NOTICE + NOTICE + ROWS


@pytest.mark.parametrize("before", [b"", done(b"BEGIN"), done(b"BEGIN") + message(b"1")])
def test_an_error_ends_the_session_and_says_why(driver: Driver, wire: Wire, before: bytes) -> None:
    Beginning(wire, driver, STATEMENTS)
    wire.bring(before + ERROR)
    assert wire.closing
    wire.lose()
    (lost,) = driver.lost
    assert str(lost) == "PostgreSQL did not begin a transaction: canceled"
    assert driver.received == b""


def test_an_end_of_the_connection_is_the_drivers_too(driver: Driver, wire: Wire) -> None:
    beginning, lost = Beginning(wire, driver, STATEMENTS), OSError("gone")
    beginning.pause_writing()
    beginning.resume_writing()
    beginning.eof_received()
    wire.closing = True
    beginning.connection_lost(lost)
    assert (driver.told, driver.lost) == (["pause", "resume", "eof"], [lost])


async def test_what_follows_by_another_protocol_waits_for_the_answers(driver: Driver, wire: Wire) -> None:
    beginning = Beginning(wire, driver, STATEMENTS)
    settling = asyncio.create_task(beginning.settle())
    await asyncio.sleep(0)
    assert wire.written.endswith(SYNC)
    wire.bring(BEGUN)
    await asyncio.sleep(0)
    assert not settling.done()
    wire.bring(message(b"Z", b"T"))
    await settling
    assert (driver.received, wire.protocol) == (b"", driver)


async def test_who_waits_is_told_that_there_is_no_transaction(driver: Driver, wire: Wire) -> None:
    beginning = Beginning(wire, driver, STATEMENTS)
    settling = asyncio.create_task(beginning.settle())
    await asyncio.sleep(0)
    wire.bring(ERROR + message(b"Z", b"I"))
    wire.lose()
    with pytest.raises(NotBegun, match="canceled"):
        await settling
    assert driver.received == b""


@pytest.mark.parametrize("lost", [None, OSError("gone")])
async def test_who_waits_is_told_of_the_end(driver: Driver, wire: Wire, lost: OSError | None) -> None:
    beginning = Beginning(wire, driver, STATEMENTS)
    settling = asyncio.create_task(beginning.settle())
    await asyncio.sleep(0)
    beginning.eof_received()
    wire.protocol.connection_lost(lost)
    with pytest.raises(OSError, match=r"gone|closed"):
        await settling
    assert driver.lost == [lost]
