"""The operators' verbs on the command line, on jobs in every state: what they do, and what they refuse."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from app.cli.main import main
from app.sync.operating.start import StartRequest, start_queued
from tests.conftest import MakeStack
from tests.support.command_line import command, environment, environment_of
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.stack import Stack

NO_RUN = "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8"


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs",),
        ("jobs", "pictures"),
        ("jobs", "image", "--state", "lost"),
        ("jobs", "image", "--limit", "501"),
        ("retry",),
        ("retry", "--failed", "pictures"),
        ("cancel",),
        ("delete",),
        ("pause", "everything"),
        ("resume",),
    ],
)
def test_wrong_usage_of_a_verb_is_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


async def test_jobs_are_listed_by_state_run_and_supplier(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    mine, other = await add_run(stack, "A23"), await add_run(stack, "A360")
    failed = await add_jobs(stack, mine, queue="image-upload", state="failed", count=2, error="404 [gone]")
    await add_jobs(stack, mine, queue="image-upload", state="completed")
    await add_jobs(stack, other, queue="image-upload", state="failed")
    by_state, by_run, by_supplier, table, none = await asyncio.gather(
        command(tmp_path, env, "jobs", "image", "--state", "failed", "--json"),
        command(tmp_path, env, "jobs", "image-upload", "--run", mine, "--limit", "2", "--json"),
        command(tmp_path, env, "jobs", "image", "--supplier", "A360", "--json"),
        command(tmp_path, env, "jobs", "image", "--run", mine),
        command(tmp_path, env, "jobs", "family"),
    )
    assert len(by_state.json) == 3
    assert len(by_run.json) == 2
    assert [(job["runId"], job["state"]) for job in by_supplier.json] == [(other, "failed")]
    assert all(job in table.out for job in failed)
    assert "404 [gone]" in table.out
    assert "no such jobs in product-family" in none.out


async def test_a_failed_job_is_retried_by_its_id_and_reaches_redis(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    run_id = await add_run(stack)
    (job,) = await add_jobs(stack, run_id, queue="product-family", state="failed")
    ended = await command(tmp_path, env, "retry", job, "--json")
    assert ended.code == 0, ended
    assert (ended.json["jobId"], ended.json["state"]) == (job, "waiting")
    assert stack.services.queue is not None
    assert await stack.services.queue.unknown("product-family", [job]) == []
    again = await command(tmp_path, env, "retry", job)
    assert (again.code, again.err) == (1, f"error: job {job} is waiting: only a failed job can be retried\n")


async def test_all_failed_jobs_are_retried_of_one_queue_or_of_all(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    run_id, cancelled = await add_run(stack), await add_run(stack, "A360", status="cancelled")
    await add_jobs(stack, run_id, queue="image-upload", state="failed", count=3)
    await add_jobs(stack, run_id, queue="product-family", state="failed", count=2)
    await add_jobs(stack, cancelled, queue="product-family", state="failed")
    one = await command(tmp_path, env, "retry", "--failed", "image")
    assert (one.code, one.out) == (0, "image-upload: 3 failed jobs wait again\n")
    await add_jobs(stack, run_id, queue="image-upload", state="failed")
    last = await command(tmp_path, env, "retry", "--failed", "image")
    assert last.out == "image-upload: 1 failed job waits again\n"
    rest = await command(tmp_path, env, "retry", "--failed", "--json")
    assert [(queue["queueName"], queue["retried"]) for queue in rest.json] == [
        ("supplier-sync", 0),
        ("product-family", 2),
        ("image-upload", 0),
    ]
    assert await stack.value("SELECT count(*) FROM jobs WHERE state = 'failed'") == 1


async def test_what_failed_of_a_run_is_not_counted_as_done_and_a_repair_is_said(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    run_id = await add_run(stack, status="completed_with_errors")
    await add_jobs(stack, run_id, queue="product-family", state="failed")
    await add_jobs(stack, run_id, queue="image-upload", state="failed", count=12)
    async with stack.services.database.begin() as db:
        await db.execute(text("UPDATE runs SET images_total = 270, images_uploaded = 200, images_deduplicated = 58"))
        await db.execute(text("UPDATE runs SET repaired_at = '2026-01-05 03:02:01Z'"))
    listed, one = await asyncio.gather(command(tmp_path, env, "runs"), command(tmp_path, env, "runs", run_id))
    for said in (" ".join(listed.out.split()), " ".join(one.out.split())):
        assert "families 0/1 +1 failed, pictures 258/270 +12 failed" in said
    assert max(map(len, listed.out.splitlines())) <= 80
    assert "    repaired   2026-01-05 03:02:01 by retries; its problems are those of before\n" in one.out


async def test_a_run_is_cancelled_by_its_id_and_only_once(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
    ended = await command(tmp_path, env, "cancel", started.run_id)
    assert (ended.code, ended.out) == (0, f"run {started.run_id} of A23 is cancelled\n")
    again = await command(tmp_path, env, "cancel", started.run_id)
    assert again.code == 1
    assert "is over: it is cancelled" in again.err


async def test_cancelling_a_suppliers_job_cancels_its_run(stack: Stack, tmp_path: Path) -> None:
    (started,) = await start_queued(stack.services, StartRequest(supplier="A23"))
    ended = await command(tmp_path, environment_of(stack), "cancel", started.job_id, "--json")
    assert (ended.code, ended.json["state"]) == (0, "cancelled")
    assert (await stack.run("A23"))["status"] == "cancelled"


async def test_a_job_is_deleted_once_it_is_over(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    run_id = await add_run(stack)
    (job,) = await add_jobs(stack, run_id, queue="image-upload", state="waiting")
    refused = await command(tmp_path, env, "delete", job)
    assert (refused.code, refused.err) == (1, f"error: job {job} is waiting: cancel it first\n")
    await command(tmp_path, env, "cancel", job)
    ended = await command(tmp_path, env, "delete", job, "--json")
    assert ended.json == {"queueName": "image-upload", "jobId": job, "deleted": True}
    assert await stack.value("SELECT count(*) FROM jobs") == 0


async def test_stats_of_paused_queues_keep_to_80_columns_with_every_number_whole(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    counts = {"waiting": 1_234, "active": 10, "delayed": 12, "completed": 12_345, "failed": 123}
    run_id = await add_run(stack)
    for state, count in counts.items():
        await add_jobs(stack, run_id, queue="image-upload", state=state, count=count)
    for queue in ("family", "image"):
        assert (await command(tmp_path, env, "pause", queue)).code == 0
    ended, shown = await asyncio.gather(command(tmp_path, env, "stats"), command(tmp_path, env, "stats", "--json"))
    assert ended.code == shown.code == 0
    lines = [line.rstrip() for line in ended.out.splitlines() if line.strip()]
    assert max(map(len, lines)) <= 80
    heads, _, supplier, family, image, *paused = lines
    assert heads.split() == ["queue", *counts, "total"]
    assert supplier.split() == ["supplier-sync", *["0"] * 6]
    assert family.split() == ["product-family", *["0"] * 6]
    assert image.split() == ["image-upload", *map(str, counts.values()), str(sum(counts.values()))]
    assert " ".join(" ".join(paused).split()) == (
        "product-family is paused; `promidata-sync resume family` lets its jobs start again "
        "image-upload is paused; `promidata-sync resume image` lets its jobs start again"
    )
    assert [queue for queue, numbers in shown.json.items() if numbers["paused"]] == ["productFamily", "imageUpload"]


async def test_a_queue_is_paused_and_resumed_by_its_short_name(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    paused = await command(tmp_path, env, "pause", "image")
    assert paused.code == 0
    assert paused.out.startswith("image-upload is paused")
    assert await stack.value("SELECT paused FROM queues WHERE name = 'image-upload'") is True
    resumed = await command(tmp_path, env, "resume", "image-upload", "--json")
    assert resumed.json == {"queueName": "image-upload", "paused": False}
    assert await stack.value("SELECT count(*) FROM queues WHERE paused") == 0


async def test_what_is_not_there_is_named(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    wanted = [
        ("retry", "x"),
        ("cancel", "x"),
        ("cancel", NO_RUN),
        ("delete", "x"),
        ("jobs", "image", "--run", "x"),
        ("jobs", "image", "--run", NO_RUN),
        ("jobs", "image", "--supplier", "A99"),
    ]
    ended = await asyncio.gather(*[command(tmp_path, env, *arguments) for arguments in wanted])
    assert [one.code for one in ended] == [1] * len(wanted), ended
    said = [one.err.removeprefix("error: ").splitlines()[0] for one in ended]
    assert all(line.startswith("there is no ") for line in said), said
    assert [line.split()[3] for line in said] == ["job", "job", "run", "job", "run", "run", "supplier"]


async def test_an_unreachable_database_is_one_message_for_a_verb_too(tmp_path: Path) -> None:
    env = environment(DATABASE_URL="postgresql://user:secret@127.0.0.1:9/promidata")
    ended = await command(tmp_path, env, "pause", "image")
    assert ended.code == 1
    assert "127.0.0.1:9/promidata" in ended.err
    assert "secret" not in ended.err


async def test_what_the_guard_held_back_is_confirmed_and_lists_keep_whole_ids(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    async with make_stack() as stack:
        await stack.sync()
        stack.feed.hide_supplier("A23")
        await stack.sync("A23")
        env = environment_of(stack) | {"COLUMNS": "80"}
        (held, *_) = (await command(tmp_path, env, "runs", "--supplier", "A23", "--json")).json
        confirmed = await command(tmp_path, env, "confirm", held["id"], "--json")
        assert (confirmed.code, confirmed.json["supplier"]) == (0, "A23")
        again = await command(tmp_path, env, "confirm", held["id"])
        assert (again.code, len(again.err.splitlines())) == (1, 1)
        listed = (await command(tmp_path, env, "runs")).out.splitlines()
        assert f"{confirmed.json['runId']}  A23  queued" in listed
        assert f"{held['id']}  A23  {held['status']}" in listed
        jobs = (await command(tmp_path, env, "jobs", "supplier")).out.splitlines()
        assert f"{confirmed.json['jobId']}  waiting" in jobs
        assert max(map(len, [line for line in jobs if "guard" not in line])) <= 80
