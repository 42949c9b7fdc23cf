"""Tasks that end together leave the task that waited for them as it was."""

from __future__ import annotations

import asyncio

import pytest

from app.sync.stage.tasks import together


class Broken(Exception):
    pass


async def breaks() -> None:
    raise Broken


async def wait_for_what_breaks(body_waits: bool) -> None:
    async with together() as group:
        group.create_task(breaks())
        if body_waits:
            await asyncio.sleep(60)


async def cancellations_after(body_waits: bool) -> int:
    with pytest.raises(Broken):
        await wait_for_what_breaks(body_waits)
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@pytest.mark.parametrize("body_waits", [False, True])
async def test_who_waited_for_a_group_that_failed_is_not_cancelled(body_waits: bool) -> None:
    assert await asyncio.create_task(cancellations_after(body_waits)) == 0


async def test_who_is_cancelled_while_it_waits_for_a_group_stays_so() -> None:
    waits = asyncio.Event()
    after: list[int] = []

    async def waiting() -> None:
        try:
            async with together() as group:
                group.create_task(asyncio.sleep(60))
                waits.set()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            after.append(task.cancelling() if task is not None else 0)
            raise

    task = asyncio.create_task(waiting())
    await waits.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert after == [1]
