"""Who may hold a connection: `app/persistence/turns.py`."""

from __future__ import annotations

import asyncio

import pytest

from app.persistence.turns import Turns


async def asked(turns: Turns, *, long: bool) -> asyncio.Task[None]:
    """A task that asks for a place and has had its chance."""
    task = asyncio.ensure_future(turns.take(long=long))
    await settled()
    return task


async def settled() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [1, 2, 3, 10])
async def test_there_are_never_more_than_its_size(size: int) -> None:
    turns = Turns(size, patience_s=0)
    askers = [await asked(turns, long=number % 2 == 0) for number in range(3 * size)]
    for number, task in enumerate(askers):
        task.set_name("quick" if number % 2 else "long")
    assert turns.held == size
    for _ in range(3 * size):
        first = next(task for task in askers if task.done())
        askers.remove(first)
        turns.give(long=first.get_name() == "long")
        await settled()
        assert turns.held <= size
    assert turns.held == 0


@pytest.mark.parametrize(("size", "long_at_most"), [(1, 1), (2, 1), (3, 2), (4, 2), (10, 8), (100, 98)])
async def test_long_work_leaves_places_to_the_quick(size: int, long_at_most: int) -> None:
    turns = Turns(size, patience_s=0)
    transactions = [await asked(turns, long=True) for _ in range(size + 5)]
    assert sum(task.done() for task in transactions) == long_at_most
    quick = await asked(turns, long=False)
    assert quick.done() == (size > 1)
    for task in (*transactions, quick):
        task.cancel()
    await asyncio.gather(*transactions, quick, return_exceptions=True)


async def test_a_place_is_given_at_once_only_where_a_connection_is_open_and_nobody_waits() -> None:
    turns = Turns(4, patience_s=60)
    assert turns.take_at_once(long=True)
    assert not turns.take_at_once(long=False)  # one more would have to be opened
    waiting = await asked(turns, long=False)
    turns.ready = 2
    assert not turns.take_at_once(long=False)  # the other one was first
    waiting.cancel()
    await settled()
    assert turns.take_at_once(long=False)
    assert turns.held == 2


async def test_long_work_that_takes_at_once_leaves_places_to_the_quick() -> None:
    turns = Turns(4)
    turns.ready = 4
    assert [turns.take_at_once(long=True) for _ in range(3)] == [True, True, False]
    turns.give(long=True)
    assert turns.take_at_once(long=True)
    assert turns.take_at_once(long=False)


async def test_the_quick_do_not_keep_a_transaction_waiting_for_ever() -> None:
    turns = Turns(1, patience_s=0)
    await turns.take(long=False)
    transaction = await asked(turns, long=True)
    later = await asked(turns, long=False)
    turns.give(long=False)
    await settled()
    assert transaction.done()
    assert not later.done()
    turns.give(long=True)
    await later


async def test_who_leaves_the_queue_takes_nothing_also_when_called_in_that_moment() -> None:
    turns = Turns(1, patience_s=0)
    await turns.take(long=True)
    waits, called = await asked(turns, long=True), await asked(turns, long=False)
    waits.cancel()
    await asyncio.sleep(0)
    turns.give(long=True)
    called.cancel()
    for task in (waits, called):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert turns.held == 0
    await turns.take(long=True)


async def test_who_leaves_in_the_moment_in_which_a_place_comes_free_has_left_and_the_next_one_has_it() -> None:
    turns = Turns(1, patience_s=0)
    await turns.take(long=True)
    leaves, next_one = await asked(turns, long=True), await asked(turns, long=False)
    leaves.cancel()
    turns.give(long=True)  # before the one that leaves has had its turn to do so
    with pytest.raises(asyncio.CancelledError):
        await leaves
    await next_one
    assert turns.held == 1


async def test_what_the_server_refuses_lowers_the_limit_and_the_refused_is_first() -> None:
    turns = Turns(5, patience_s=0)
    for _ in range(4):
        await turns.take(long=False)
    assert turns.refused()
    assert turns.limit == 2
    turns.give(long=False)
    stranger = await asked(turns, long=False)
    again = asyncio.ensure_future(turns.take(long=False, first=True))
    await asyncio.sleep(0)
    turns.give(long=False)
    await settled()
    assert not again.done()
    turns.give(long=False)
    await settled()
    assert again.done()
    assert not stranger.done()
    stranger.cancel()
    turns.close()


async def test_the_limit_grows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.persistence.turns.GROW_EVERY_S", 0.001)
    turns = Turns(4, patience_s=0)
    await turns.take(long=False)
    assert not turns.refused()
    assert turns.under_pressure
    waiting = [asyncio.ensure_future(turns.take(long=False)) for _ in range(3)]
    await asyncio.gather(*waiting)
    assert turns.held == 4
    assert not turns.under_pressure


async def test_a_connection_that_is_lent_is_waited_for_before_one_more_is_opened() -> None:
    turns = Turns(5, patience_s=60)
    for _ in range(20):
        await turns.take(long=True)
        waits = await asked(turns, long=False)
        assert not waits.done()
        turns.give(long=True)
        await waits
        turns.give(long=False)
    assert turns.ready == 1


async def test_who_has_waited_for_long_enough_gets_one_more_and_the_next_ones_too_until_it_is_closed() -> None:
    turns = Turns(5, patience_s=0.001)
    await asyncio.gather(*(turns.take(long=False) for _ in range(3)))
    assert (turns.held, turns.ready) == (3, 3)
    for _ in range(3):
        turns.give(long=False)
    turns._patience_s = 60
    await asyncio.gather(*(turns.take(long=False) for _ in range(3)))  # nobody waits for what is open
    turns.give(long=False)
    turns.closed(2)
    waits = await asked(turns, long=False)
    assert not waits.done()
    waits.cancel()


@pytest.mark.parametrize(
    ("transactions", "quick", "waits_long", "contended"),
    [(1, 0, False, False), (8, 0, False, False), (8, 0, True, True), (8, 2, False, True), (7, 3, True, True)],
)
async def test_a_place_is_contended_when_who_waits_has_to_have_another_ones(
    transactions: int, quick: int, waits_long: bool, contended: bool
) -> None:
    turns = Turns(10, patience_s=0)
    for number in range(transactions + quick):
        await turns.take(long=number < transactions)
    turns._patience_s = 60
    waits = await asked(turns, long=waits_long)
    assert not waits.done()
    assert turns.contended == contended
    waits.cancel()
