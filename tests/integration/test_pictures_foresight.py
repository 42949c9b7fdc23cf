"""Image jobs that were claimed together share the look-up of their addresses, and do not go by what is outdated."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.persistence import pictures
from app.persistence.database import Connection
from app.persistence.pictures import Address
from app.sync.image import foresight
from tests.conftest import MakeStack
from tests.support.image_jobs import HeldRun
from tests.support.picture_origin import PictureOrigin
from tests.support.picture_readers import hashes, seen, two_pictures
from tests.support.stack import Stack

FOR_EVER, FOR_NO_TIME = float("inf"), -1.0


@pytest.mark.parametrize(("good_for_s", "looked_up"), [(FOR_EVER, [2]), (FOR_NO_TIME, [2, 1])])
async def test_the_first_of_the_jobs_that_were_claimed_together_looks_up_all_of_them(
    make_stack: MakeStack,
    origin: PictureOrigin,
    monkeypatch: pytest.MonkeyPatch,
    good_for_s: float,
    looked_up: list[int],
) -> None:
    """An answer that has become too old is asked for anew, by whom it is for."""
    look_up, asked = pictures.addresses, list[int]()

    async def counted(db: Connection, ids: Sequence[int]) -> dict[int, Address]:
        asked.append(len(ids))
        return await look_up(db, ids)

    monkeypatch.setattr(pictures, "addresses", counted)
    monkeypatch.setattr(foresight, "GOOD_FOR_S", good_for_s)
    feed, _, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        run = HeldRun(stack)
        jobs = await run.start()
        run.surroundings.expected.note(jobs)
        await run.work(jobs)
        assert asked == looked_up
        assert await seen(stack) == {variant: hashes(origin, "/a", "/b")}


async def test_what_was_named_by_nothing_when_it_was_looked_up_and_is_named_by_its_turn_is_asked(
    make_stack: MakeStack, origin: PictureOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foresight, "GOOD_FOR_S", FOR_EVER)
    feed, _, variant = two_pictures(origin)
    async with make_stack(feed) as stack:
        run = HeldRun(stack)
        first, second = await run.start()
        run.surroundings.expected.note([first, second])
        await _set_variants(stack, "discontinued")
        await run.work([first])
        await _set_variants(stack, "active")
        await run.work([second])
        assert sum(origin.asked.values()) == 1
        results = await stack.rows("SELECT result FROM jobs WHERE queue = 'image-upload' ORDER BY id")
        assert sorted(row["result"].get("superseded", False) for row in results) == [False, True]
        assert len((await seen(stack))[variant]) == 1


async def _set_variants(stack: Stack, status: str) -> None:
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql(f"UPDATE variants SET status = '{status}'")
