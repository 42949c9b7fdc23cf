"""A picture that failed in several runs is asked for once a retry of all that failed, by one of its jobs for all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.jobs.definitions import IMAGE_UPLOAD
from app.sync.operating import by_hand
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.raw_http import answer
from tests.support.stack import Servers, Stack
from tests.support.waiting import eventually
from tests.support.worker_stack import worker_stack

RUNS = 3
JOBS = """
SELECT j.id, j.state, j.attempts, j.error, j.result FROM jobs j JOIN runs r ON r.id = j.run_id
WHERE j.queue = 'image-upload' AND j.args ->> 'address_id' = :address ORDER BY r.created_at DESC
"""
RUNS_NOW = "SELECT status, open_jobs, images_failed FROM runs"
OPEN = "SELECT count(*) FROM jobs WHERE state IN ('waiting', 'active', 'delayed')"


async def test_what_is_retried_together_asks_each_address_once_and_every_job_has_its_end(
    servers: Servers, tmp_path: Path, origin: PictureOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a page of jobs is reopened after the address was settled, and with two workers at it."""
    monkeypatch.setattr(by_hand, "RETRIED_AT_ONCE", 3)
    feed = bare_feed()
    show(feed, skus_of(feed)[0], [origin.put("/fine", jpeg(1)), origin.url("/gone"), origin.url("/away")])
    origin.scripts["/away"] = [[answer(b"busy", status=503)]] * 100
    async with worker_stack(servers, tmp_path, feed) as workers:
        stack = workers.stack
        workers.spawn_all()
        workers.spawn(IMAGE_UPLOAD)
        for _ in range(RUNS):
            await workers.start("A23", force=True)
            await workers.over()
        origin.forget()
        before = await failures(stack)
        assert await by_hand.retry_failed(stack.services, IMAGE_UPLOAD) == 2 * RUNS
        await all_over(stack)
        assert origin.asked == {"/gone": 1, "/away": 3}
        assert await failures(stack) == {url: number + 1 for url, number in before.items()}
        for url, kind in (("/gone", "http-404"), ("/away", "attempts-spent")):
            told = await problems(stack, origin.url(url))
            assert {(row["kind"], row["number"]) for row in told} == {(kind, 2)}, "one of the sync, one of the retry"
            assert (len(told), len({row["reason"] for row in told})) == (RUNS, 1)
        assert {tuple(run.values()) for run in await stack.rows(RUNS_NOW)} == {("completed_with_errors", 0, 2)}

        origin.forget()
        origin.scripts.clear()
        origin.put("/gone", jpeg(2))
        origin.put("/away", jpeg(3))
        assert await by_hand.retry_failed(stack.services, IMAGE_UPLOAD) == 2 * RUNS
        await all_over(stack)
        assert origin.asked == {"/gone": 1, "/away": 1}
        assert {tuple(run.values()) for run in await stack.rows(RUNS_NOW)} == {("completed", 0, 0)}
        for url in ("/gone", "/away"):
            jobs = await jobs_of(stack, origin.url(url))
            assert {job["state"] for job in jobs} == {"completed"}
            assert [job["result"]["deduplicated"] for job in jobs] == [False] + [True] * (RUNS - 1)


async def test_what_went_after_a_job_that_was_cancelled_asks_after_all(
    servers: Servers, tmp_path: Path, origin: PictureOrigin
) -> None:
    async with gone_in_two_runs(servers, tmp_path, origin) as stack:
        await by_hand.pause(stack.services, IMAGE_UPLOAD)
        assert await by_hand.retry_failed(stack.services, IMAGE_UPLOAD) == 2
        first, _ = await jobs_of(stack, origin.url("/gone"))
        await by_hand.cancel_job(stack.services, IMAGE_UPLOAD, first["id"])
        origin.put("/gone", jpeg(1))
        origin.forget()
        await by_hand.resume(stack.services, IMAGE_UPLOAD)
        await all_over(stack)
        assert [job["state"] for job in await jobs_of(stack, origin.url("/gone"))] == ["cancelled", "completed"]
        assert origin.asked == {"/gone": 1}


async def test_a_job_that_is_retried_alone_asks_for_itself(
    servers: Servers, tmp_path: Path, origin: PictureOrigin
) -> None:
    """Though it went after another one when all were retried."""
    async with gone_in_two_runs(servers, tmp_path, origin) as stack:
        assert await by_hand.retry_failed(stack.services, IMAGE_UPLOAD) == 2
        await all_over(stack)
        origin.put("/gone", jpeg(1))
        origin.forget()
        _, second = await jobs_of(stack, origin.url("/gone"))
        await by_hand.retry_job(stack.services, IMAGE_UPLOAD, second["id"])
        await all_over(stack)
        assert [job["state"] for job in await jobs_of(stack, origin.url("/gone"))] == ["failed", "completed"]
        assert origin.asked == {"/gone": 1}


@asynccontextmanager
async def gone_in_two_runs(servers: Servers, folder: Path, origin: PictureOrigin) -> AsyncIterator[Stack]:
    """Two runs in which the same picture failed, and workers for what comes next."""
    feed = bare_feed()
    show(feed, skus_of(feed)[0], [origin.url("/gone")])
    async with worker_stack(servers, folder, feed) as workers:
        workers.spawn_all()
        for _ in range(2):
            await workers.start("A23", force=True)
            await workers.over()
        yield workers.stack


async def all_over(stack: Stack) -> None:
    async def none_open() -> bool:
        return bool(await stack.value(OPEN) == 0)

    await eventually(none_open, timeout_s=60)


async def failures(stack: Stack) -> dict[str, int]:
    rows = await stack.rows("SELECT url, failures FROM addresses WHERE state = 'failed'")
    return {row["url"]: row["failures"] for row in rows}


async def jobs_of(stack: Stack, url: str) -> list[dict[str, Any]]:
    """The image jobs of an address, the newest run's first."""
    address = await stack.value("SELECT CAST(id AS text) FROM addresses WHERE url = :url", url=url)
    return await stack.rows(JOBS, address=address)


async def problems(stack: Stack, url: str) -> list[dict[str, Any]]:
    """What is told of an address by run, kind and reason, and how often."""
    return await stack.rows(
        "SELECT run_id, kind, reason, count(*) AS number FROM problems WHERE url = :url GROUP BY 1, 2, 3", url=url
    )
