"""Bounds on how long something may take."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import OriginUnavailable
from app.time_limits import within

OTHERWISE = OriginUnavailable("took too long")


async def test_what_ends_in_time_is_not_touched() -> None:
    async with within(60, lambda: OTHERWISE):
        await asyncio.sleep(0)


async def test_what_is_over_its_time_ends_as_the_error_that_was_named() -> None:
    with pytest.raises(OriginUnavailable) as told:
        async with within(0, lambda: OTHERWISE):
            await asyncio.Event().wait()
    assert told.value is OTHERWISE


async def test_a_time_out_of_the_block_itself_goes_through_as_it_is() -> None:
    with pytest.raises(TimeoutError, match="of its own"):
        async with within(60, lambda: OTHERWISE):
            raise TimeoutError("of its own")


async def test_a_cancelled_task_ends_cancelled_whatever_time_it_had_left() -> None:
    async def wait() -> None:
        async with within(60, lambda: OTHERWISE):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_by_the_limit_that_the_block_turned_into_a_time_out_is_the_limits() -> None:
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise TimeoutError from None

    with pytest.raises(OriginUnavailable):
        async with within(0, lambda: OTHERWISE):
            await wait()
