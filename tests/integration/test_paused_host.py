"""A host that wants a pause: its pictures wait without a slot and without an attempt, whatever a job's time is."""

from __future__ import annotations

from pathlib import Path

from tests.support.stack import Servers, open_stack

JOBS = "SELECT state, attempts, error FROM jobs WHERE queue = 'image-upload'"


async def test_who_waits_for_the_end_of_a_pause_spends_nothing(servers: Servers, tmp_path: Path) -> None:
    async with open_stack(servers, tmp_path, job_timeout_image_ms=1000) as stack:
        stack.server.faults.add("*/Images/*", "status", times=1, status=429, retry_after="5")
        await stack.sync("A23")
        run, jobs = await stack.run("A23"), await stack.rows(JOBS)
        assert (run["status"], run["images_failed"]) == ("completed", 0)
        assert {job["state"] for job in jobs} == {"completed"}
        spent = [job["error"] for job in jobs if job["attempts"]]
        assert len(spent) == 1, "the one that was asked to wait; the others were not asked at all"
        assert "429" in spent[0]
