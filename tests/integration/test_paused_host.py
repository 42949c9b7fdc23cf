"""A host that wants a pause: who asks it waits without a slot and without an attempt, whatever a job's time is."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from app.errors import OriginUnavailable
from app.jobs.definitions import IMAGE_UPLOAD
from app.outbound import FetchLimits
from app.persistence.job_lists import JobFilter, list_jobs
from app.views.jobs import listed_job
from tests.support.raw_http import KEEP, answer, serve
from tests.support.stack import Servers, Stack, open_stack
from tests.support.waiting import eventually

JOBS = "SELECT state, attempts, error, errors FROM jobs WHERE queue = 'image-upload'"
JOB_MS = 3000
PAUSE_S = "6"
"""Longer than a job may take; and long enough for a busy machine to see it."""
SUPPLIER_JOB = "SELECT state, attempts, error FROM jobs WHERE queue = 'supplier-sync'"
WARNINGS = "SELECT reason FROM problems WHERE kind = 'categories'"
LOOKS = "SELECT count(*) FROM category_files WHERE checked_at > now() - interval '23 hours'"


async def pause(stack: Stack, url: str) -> None:
    """Somebody asks a host that answers 429."""
    with pytest.raises(OriginUnavailable):
        await stack.services.outbound.get(url, limits=FetchLimits(max_bytes=1_000))


async def until_delayed(stack: Stack) -> None:
    async def is_delayed() -> bool:
        return [job["state"] for job in await stack.rows(SUPPLIER_JOB)] == ["delayed"]

    await eventually(is_delayed)


async def test_who_waits_for_the_end_of_a_pause_spends_nothing(servers: Servers, tmp_path: Path) -> None:
    async with open_stack(servers, tmp_path, job_timeout_image_ms=JOB_MS) as stack:
        stack.server.faults.add("*/Images/*", "status", times=1, status=429, retry_after=PAUSE_S)
        await stack.sync("A23")
        run, jobs = await stack.run("A23"), await stack.rows(JOBS)
        assert (run["status"], run["images_failed"]) == ("completed", 0)
        assert {job["state"] for job in jobs} == {"completed"}
        spent = [error["error"] for job in jobs for error in job["errors"]]
        assert len(spent) == 1, "the one that was asked to wait; the others were not asked at all"
        assert "429" in spent[0]


async def test_a_picture_that_waits_for_a_host_says_for_which_and_until_when(servers: Servers, tmp_path: Path) -> None:
    async with open_stack(servers, tmp_path, job_timeout_image_ms=JOB_MS) as stack:
        stack.server.faults.add("*/Images/*", "status", times=1, status=429, retry_after=PAUSE_S)
        syncing = asyncio.create_task(stack.sync("A23"))
        told: list[str] = []

        async def has_told() -> bool:
            jobs = await stack.rows(f"{JOBS} AND state = 'delayed' AND attempts = 0")
            told.extend(job["error"] for job in jobs)
            return bool(told)

        await eventually(has_told)
        host = re.escape(urlsplit(stack.server.base_url).netloc)
        assert re.fullmatch(
            rf"{host} answered 429, and is left alone until \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC", told[0]
        )
        await syncing
        async with stack.services.database.read() as db:
            listed = await list_jobs(
                db, JobFilter(IMAGE_UPLOAD, run_id=str((await stack.run("A23"))["id"])), after=None, limit=50
            )
        assert {listed_job(stack.settings, job)["error"] for job in listed} == {None}


async def test_a_sync_that_meets_a_pause_before_it_has_begun_holds_no_slot(servers: Servers, tmp_path: Path) -> None:
    async with open_stack(servers, tmp_path, job_timeout_supplier_ms=JOB_MS) as stack:
        stack.server.faults.add("*/elsewhere", "status", status=429, retry_after=PAUSE_S)
        await pause(stack, f"{stack.server.base_url}/elsewhere")
        stack.server.log.reset()
        syncing = asyncio.create_task(stack.sync("A23"))
        await until_delayed(stack)
        await syncing
        (job,) = await stack.rows(SUPPLIER_JOB)
        assert (job["state"], job["attempts"]) == ("completed", 0)
        assert stack.server.log.counts["manifest"] == 1


async def test_a_category_file_at_a_host_that_wants_a_pause_is_asked_for_by_the_next_sync(
    servers: Servers, tmp_path: Path
) -> None:
    resting = [answer(status=429, Retry_After=PAUSE_S), KEEP]
    async with (
        open_stack(servers, tmp_path, job_timeout_supplier_ms=JOB_MS) as stack,
        serve(lambda _: resting) as elsewhere,
    ):
        await pause(stack, elsewhere.url("/first"))
        stack.server.faults.add("category", "redirect", location=elsewhere.url("/CAT.csv"))
        await stack.sync("A23")
        (job,), warnings = await stack.rows(SUPPLIER_JOB), await stack.rows(WARNINGS)
        assert (job["state"], job["attempts"], await stack.value(LOOKS)) == ("completed", 0, 0)
        assert ["is left alone until" in warning["reason"] for warning in warnings] == [True]
        stack.server.faults.clear()
        await stack.sync("A23")
        assert (len(elsewhere.requests), await stack.value(LOOKS)) == (1, 1)


async def test_a_pause_in_the_middle_of_a_sync_is_no_standing_still(servers: Servers, tmp_path: Path) -> None:
    async with open_stack(servers, tmp_path, job_timeout_supplier_ms=JOB_MS, concurrency_documents=1) as stack:
        stack.server.faults.add("document", "status", times=1, status=429, retry_after=PAUSE_S)
        stack.server.log.reset()
        with capture_logs() as lines:
            await stack.sync("A23")
        (job,), run = await stack.rows(SUPPLIER_JOB), await stack.run("A23")
        assert (run["status"], run["families_failed"], job["attempts"]) == ("completed", 0, 0)
        assert stack.server.log.counts["manifest"] == 1, "it waited, and did not begin anew"
        told = [line["why"] for line in lines if line["event"] == "a host wants a pause"]
        host = urlsplit(stack.server.base_url).netloc
        assert len(told) == 1
        assert told[0].startswith(f"{host} answered 429, and is left alone until ")
