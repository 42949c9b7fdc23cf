"""Syncs by the clock: once, by one of many, whatever was missed; paused when the feed keeps failing."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.catalogue.schedule import next_run
from app.sync.services import open_services
from app.sync.upkeep.schedules import run_schedules
from tests.conftest import MakeStack
from tests.support.api_client import api_client
from tests.support.stack import Servers, Stack
from tests.support.waiting import eventually
from tests.support.worker_stack import worker_stack

DAILY = {"schedule": "30 3 * * *", "timeZone": "Europe/Amsterdam"}


async def set_due(stack: Stack, *codes: str, schedule: str = "30 3 * * *", ago: str = "1 minute") -> None:
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql(
            f"""UPDATE suppliers SET schedule = '{schedule}', time_zone = 'Europe/Amsterdam',
            next_run_at = now() - interval '{ago}' WHERE code IN ({", ".join(f"'{code}'" for code in codes)})"""
        )


async def supplier(stack: Stack, code: str = "A23") -> dict[str, Any]:
    (row,) = await stack.rows("SELECT *, clock_timestamp() AS now FROM suppliers WHERE code = :code", code=code)
    return row


async def runs(stack: Stack) -> list[dict[str, Any]]:
    return await stack.rows(
        "SELECT r.*, s.code FROM runs r JOIN suppliers s ON s.id = r.supplier_id ORDER BY r.created_at, s.code"
    )


async def end_run(stack: Stack, status: str) -> None:
    """As if the run under way had ended: what the schedule makes of it is the matter here."""
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql(
            f"""UPDATE runs SET status = '{status}', open_jobs = 0, finished_at = clock_timestamp(), error = 'x'
            WHERE status = 'queued'"""
        )
        await db.exec_driver_sql("UPDATE jobs SET state = 'cancelled' WHERE state = 'waiting'")


async def test_what_is_due_is_started_once_and_the_next_time_is_planned(stack: Stack) -> None:
    await set_due(stack, "A23")
    await run_schedules(stack.services)
    await run_schedules(stack.services)
    (run,) = await runs(stack)
    assert (run["code"], run["trigger"], run["mode"], run["status"]) == ("A23", "schedule", "queued", "queued")
    row = await supplier(stack)
    assert row["next_run_at"] == next_run("30 3 * * *", "Europe/Amsterdam", row["now"])
    assert stack.services.queue is not None
    assert await stack.services.queue.length("supplier-sync") == 1


async def test_times_that_were_missed_are_made_up_for_by_one_run(stack: Stack) -> None:
    await set_due(stack, "A23", schedule="*/5 * * * *", ago="9 days")
    await run_schedules(stack.services)
    assert len(await runs(stack)) == 1
    row = await supplier(stack)
    assert row["now"] < row["next_run_at"] <= row["now"] + timedelta(minutes=5)


async def test_two_changes_of_a_supplier_at_once_are_as_one_after_the_other(stack: Stack) -> None:
    async with api_client(stack.settings) as api:
        for time_zone, schedule in (("Asia/Tokyo", "0 3 * * *"), ("Europe/Amsterdam", "0 4 * * *")) * 10:
            await api.call("PATCH", "/suppliers/A23", json={"schedule": None})
            changes: tuple[dict[str, Any], ...] = ({"timeZone": time_zone}, {"schedule": schedule})
            await asyncio.gather(*(api.call("PATCH", "/suppliers/A23", json=change) for change in changes))
            found = await supplier(stack)
            assert found["next_run_at"] == next_run(schedule, time_zone, found["now"])


async def test_a_run_under_way_is_neither_doubled_nor_queued_behind(stack: Stack) -> None:
    await set_due(stack, "A23")
    await run_schedules(stack.services)
    await set_due(stack, "A23")
    await run_schedules(stack.services)
    assert len(await runs(stack)) == 1
    assert (await supplier(stack))["next_run_at"] > (await supplier(stack))["now"]
    await end_run(stack, "completed")
    await run_schedules(stack.services)
    assert len(await runs(stack)) == 1, "a time that was skipped is not made up for"


async def test_ten_replicas_start_each_supplier_once(make_stack: MakeStack) -> None:
    async with make_stack() as stack, open_services(stack.settings) as other:
        for _ in range(5):
            await set_due(stack, "A23", "A360")
            replicas = (stack.services, other) * 5
            async with asyncio.TaskGroup() as group:
                for services in replicas:
                    group.create_task(run_schedules(services))
            assert sorted(run["code"] for run in await runs(stack) if run["status"] == "queued") == ["A23", "A360"]
            await end_run(stack, "completed")
        assert len(await runs(stack)) == 10


@pytest.mark.parametrize("how", ["is_active = false", "schedule = NULL", "schedule_paused_at = now()"])
async def test_who_is_not_to_run_by_the_clock_does_not(stack: Stack, how: str) -> None:
    await set_due(stack, "A23")
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql(f"UPDATE suppliers SET {how}")
    await run_schedules(stack.services)
    assert await runs(stack) == []


async def test_a_schedule_that_makes_no_sense_any_more_is_paused_and_says_so(stack: Stack) -> None:
    await set_due(stack, "A23", schedule="0 0 30 2 *")
    await set_due(stack, "A360")
    await run_schedules(stack.services)
    row = await supplier(stack)
    assert (row["next_run_at"], row["schedule_paused_at"] is not None) == (None, True)
    assert "0 0 30 2 *" in row["schedule_paused_reason"]
    assert [run["code"] for run in await runs(stack)] == ["A360"], "and holds up no other"


async def test_a_supplier_that_keeps_failing_is_paused_until_a_run_succeeds(make_stack: MakeStack) -> None:
    async with make_stack(schedule_pause_after_failures=3) as stack, api_client(stack.settings) as api:
        await api.call("PATCH", "/suppliers/A23", json=DAILY)
        await fail(stack, times=2)
        assert (await supplier(stack))["schedule_paused_at"] is None
        await fail(stack, times=1)
        shown = await api.get("/suppliers/A23")
        assert shown["nextRunAt"] is None
        assert shown["schedulePausedAt"] is not None
        assert shown["schedulePausedReason"] == "the last 3 runs failed"
        assert shown["schedule"] == DAILY["schedule"]
        await run_schedules(stack.services)
        assert len(await runs(stack)) == 3
        await stack.sync("A23")
        await run_schedules(stack.services)
        shown = await api.get("/suppliers/A23")
        assert (shown["schedulePausedAt"], shown["schedulePausedReason"]) == (None, None)
        assert shown["nextRunAt"] is not None


async def fail(stack: Stack, times: int) -> None:
    for _ in range(times):
        await set_due(stack, "A23")
        await run_schedules(stack.services)
        await end_run(stack, "failed")
    await run_schedules(stack.services)


async def test_a_paused_schedule_that_is_set_again_has_all_its_failures_before_it(make_stack: MakeStack) -> None:
    async with make_stack(schedule_pause_after_failures=2) as stack, api_client(stack.settings) as api:
        await fail(stack, times=2)
        shown = await api.call("PATCH", "/suppliers/A23", json=DAILY)
        assert (shown["schedulePausedAt"], shown["nextRunAt"] is None) == (None, False)
        await fail(stack, times=1)
        assert (await supplier(stack))["schedule_paused_at"] is None
        await fail(stack, times=1)
        assert (await supplier(stack))["schedule_paused_at"] is not None


async def test_the_api_plans_shows_and_refuses_schedules(stack: Stack) -> None:
    async with api_client(stack.settings) as api:
        shown = await api.call("PATCH", "/suppliers/A23", json=DAILY)
        planned = datetime.fromisoformat(shown["nextRunAt"])
        assert planned == next_run(DAILY["schedule"], DAILY["timeZone"], datetime.now(UTC))
        other = await api.call("PATCH", "/suppliers/A23", json={"timeZone": "Asia/Tokyo"})
        assert datetime.fromisoformat(other["nextRunAt"]).strftime("%H:%M") == "18:30"
        assert (await api.call("PATCH", "/suppliers/A23", json={"isActive": False}))["nextRunAt"] is None
        assert (await api.call("PATCH", "/suppliers/A23", json={"isActive": True}))["nextRunAt"] == other["nextRunAt"]
        assert (await api.call("PATCH", "/suppliers/A23", json={"name": "Premo"}))["nextRunAt"] == other["nextRunAt"]
        for body, field in (
            ({"schedule": "every day"}, "schedule"),
            ({"schedule": "0 0 30 2 *"}, "schedule"),
            ({"schedule": "0 30 3 * * *"}, "schedule"),
            ({"timeZone": "Mars/Olympus"}, "timeZone"),
        ):
            problem = await api.problem("PATCH", "/suppliers/A23", 422, json=body)
            assert problem["errors"][0]["field"] == field
        assert (await api.get("/suppliers/A23"))["nextRunAt"] == other["nextRunAt"]
        assert (await api.call("PATCH", "/suppliers/A23", json={"schedule": None}))["nextRunAt"] is None


async def test_workers_that_were_all_down_when_it_was_time_sync_when_they_are_back(
    servers: Servers, tmp_path: Path
) -> None:
    """A restart, two replicas: one run each, to its end."""
    async with worker_stack(servers, tmp_path) as workers:
        await set_due(workers.stack, "A23", "A360", ago="3 hours")
        workers.spawn_all()
        workers.spawn_all()
        await eventually(lambda: workers.stack.value("SELECT count(*) = 2 FROM runs"), timeout_s=40)
        ended = await workers.over()
        assert [(run["status"], run["trigger"]) for run in ended] == [("completed", "schedule")] * 2
        assert (await workers.stack.run("A23"))["families_completed"] > 0


@pytest.mark.chaos
@pytest.mark.parametrize(
    "point", ["upkeep.schedules.start_due:before-commit", "upkeep.schedules.start_due:after-commit"]
)
async def test_a_worker_that_dies_as_it_starts_a_run_by_the_clock_loses_and_doubles_nothing(
    servers: Servers, tmp_path: Path, point: str
) -> None:
    async with worker_stack(servers, tmp_path) as workers:
        await set_due(workers.stack, "A23")
        first = workers.spawn("supplier-sync", PROMIDATA_FAILPOINT=point)
        assert await first.exit_code() == -signal.SIGKILL
        assert await workers.stack.value("SELECT count(*) FROM runs") == (1 if "after" in point else 0)
        workers.spawn_all()
        await eventually(lambda: workers.stack.value("SELECT count(*) = 1 FROM runs"))
        (run,) = await workers.over()
        assert (run["status"], run["trigger"]) == ("completed", "schedule")
