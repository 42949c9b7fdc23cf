"""A direct sync, end to end on real parts: what the feed says is what the catalogue has."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from app.errors import DatabaseUnavailable
from app.failpoints import arm
from app.jobs.definitions import IMAGE_UPLOAD, policies
from app.persistence import ledger, runs
from app.persistence.breaking import break_off
from app.sync.operating.by_hand import cancel_run
from app.sync.operating.start import StartRequest, start_queued, start_runs
from app.sync.running import abandoned, direct
from app.sync.running.abandoned import AbandonedRuns
from app.sync.running.numbering import number_all
from app.sync.running.outcomes import end_cancelled
from app.sync.upkeep import chores
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import plain_feed
from tests.support.stack import Stack
from tests.support.truth import assert_as_if_nothing_had_happened
from tests.support.waiting import eventually


async def test_a_cold_sync_completes_and_its_summary_adds_up(stack: Stack) -> None:
    results = await stack.sync()
    assert [result.errors for result in results] == [0, 0]
    for supplier in ("A23", "A360"):
        run = await stack.run(supplier)
        assert (run["status"], run["error"], run["open_jobs"]) == ("completed", None, 0)
        assert run["manifest_entries"] == run["manifest_new"] == run["documents_fetched"]
        assert run["families_total"] == run["families_completed"] > 0
        assert run["images_total"] == run["images_uploaded"] + run["images_deduplicated"]
    assert await stack.value("SELECT count(*) FROM problems") == 0
    created = await stack.value("SELECT sum(variants_created) FROM runs")
    assert created == await stack.value("SELECT count(*) FROM variants")


async def test_it_never_waits_for_the_next_look_where_there_is_something_to_do(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "LOOK_EVERY_S", 300)
    async with asyncio.timeout(120):
        await stack.sync()
    assert (await stack.run("A23"))["images_total"] > policies(stack.settings)[IMAGE_UPLOAD].slots


async def test_a_second_sync_of_an_unchanged_feed_asks_for_the_manifest_alone(stack: Stack) -> None:
    await stack.sync()
    stack.server.log.reset()
    results = await stack.sync()
    assert dict(stack.server.log.counts) == {"manifest": 2}
    assert [result.products_processed for result in results] == [0, 0]


async def test_changes_of_a_direct_sync_are_numbered_without_any_worker(stack: Stack) -> None:
    await stack.sync("A23")
    numbers = [row["seq"] for row in await stack.rows("SELECT seq FROM changes ORDER BY id")]
    assert numbers == list(range(1, len(numbers) + 1))


def lose_answers(monkeypatch: pytest.MonkeyPatch, times: int) -> Counter[str]:
    """The first `times` claims of each queue that bring something are committed, and their connections break."""
    lost, claim = Counter[str](), ledger.claim_of_run

    async def committed_and_lost(db: Any, run_id: str, queue: str, limit: int, in_hand: Any = ()) -> Any:
        claimed = await claim(db, run_id, queue, limit, in_hand)
        if claimed and lost[queue] < times:
            lost[queue] += 1
            await break_off(db)
        return claimed

    monkeypatch.setattr(ledger, "claim_of_run", committed_and_lost)
    return lost


async def test_a_claim_whose_answer_was_lost_is_taken_again(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = lose_answers(monkeypatch, times=2)
    async with asyncio.timeout(120):
        await stack.sync("A23")
    assert lost.total() == 6
    assert (await stack.run("A23"))["status"] == "completed"
    monkeypatch.undo()
    await stack.sync()
    await assert_as_if_nothing_had_happened(stack)


async def test_a_run_whose_claims_were_all_lost_can_be_cancelled(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "RENEW_EVERY_S", 0.2)
    lost = lose_answers(monkeypatch, times=10**9)
    sync = asyncio.create_task(stack.sync("A23"))

    async def anything_lost() -> bool:
        return lost.total() > 0

    await eventually(anything_lost)
    await cancel_run(stack.services, str((await stack.run("A23"))["id"]))
    async with asyncio.timeout(120):
        await sync
    run = await stack.run("A23")
    assert (run["status"], run["open_jobs"]) == ("cancelled", 0)


async def leave_a_run(stack: Stack) -> str:
    """A direct run whose lease is over."""
    (run,) = await start_runs(stack.services, StartRequest(supplier="A23"), "direct")
    await let_lease_run_out(stack, 60)
    return run.run_id


async def let_lease_run_out(stack: Stack, seconds: int) -> None:
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql(f"UPDATE runs SET lease_until = clock_timestamp() - interval '{seconds} s'")


async def test_a_run_that_renews_its_lease_after_an_outage_is_not_taken_for_abandoned(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GRACE_S is no time here: what counts is what was seen between two looks."""
    monkeypatch.setattr(abandoned, "GRACE_S", 0.0)
    run_id, lookers = await leave_a_run(stack), AbandonedRuns(stack.services.database)
    assert await lookers.look(), "seen once says nothing"
    async with stack.services.database.begin() as db:
        await runs.renew_lease(db, run_id)
    await let_lease_run_out(stack, 30)
    assert await lookers.look(), "it was renewed in between"
    await in_an_outage(lookers, monkeypatch)
    assert await lookers.look(), "nobody could renew it in between"
    assert (await stack.run("A23"))["status"] == "queued"
    assert not await lookers.look()
    run = await stack.run("A23")
    assert (run["status"], run["open_jobs"]) == ("failed", 0)
    assert "is gone" in run["error"]


async def in_an_outage(lookers: AbandonedRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look while PostgreSQL answers and takes no writes."""
    look = runs.silent_runs

    async def read_only(db: Any) -> Any:
        await db.exec_driver_sql("SET TRANSACTION READ ONLY")
        return await look(db)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "silent_runs", read_only)
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            await lookers.look()


async def test_leases_are_renewed_soon_after_an_outage(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "RENEW_EVERY_S", 3600.0)
    monkeypatch.setattr(direct, "RENEW_AGAIN_S", 0.01)
    tries = Counter[str]()

    async def renew(db: Any, run_id: str) -> None:
        tries[run_id] += 1
        if tries[run_id] == 1:
            raise DatabaseUnavailable("read-only")

    monkeypatch.setattr(runs, "renew_lease", renew)
    task = asyncio.create_task(direct._hold_leases(stack.services, ["a run"]))

    async def tried_again() -> bool:
        return tries["a run"] == 2

    await eventually(tried_again)
    task.cancel()


async def test_an_api_without_redis_ends_what_a_killed_process_left(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abandoned, "GRACE_S", 0.0)
    monkeypatch.setattr(chores, "ABANDONED_EVERY_S", 0.05)
    await leave_a_run(stack)
    task = asyncio.create_task(chores.do_chores_without_queue(stack.services))
    await eventually(lambda: stack.value("SELECT bool_and(status = 'failed') FROM runs"))
    task.cancel()


@pytest.fixture
def disarmed() -> Iterator[None]:
    yield
    arm(None)


@pytest.mark.usefixtures("disarmed")
async def test_a_start_whose_answer_was_lost_finds_its_runs_and_goes_on(stack: Stack) -> None:
    arm("operating.start.start_runs:cut")
    started = await start_queued(stack.services, StartRequest(supplier="A23"))
    assert [run.started for run in started] == [True]
    arm("operating.start.start_runs:cut")
    assert [result.supplier for result in await stack.sync("A360")] == ["A360"]
    assert (await stack.run("A360"))["status"] == "completed"
    assert await stack.rows("SELECT mode, count(*) AS n FROM runs GROUP BY mode ORDER BY mode") == [
        {"mode": "direct", "n": 1},
        {"mode": "queued", "n": 1},
    ]


async def test_an_outage_while_a_cancelled_job_is_closed_leaves_it_to_the_next_look(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "RENEW_EVERY_S", 0.2)
    tries = Counter[str]()

    async def away_at_first(stage: Any, job_ids: Any) -> None:
        tries.update(job_ids)
        if tries.total() == 1:
            raise DatabaseUnavailable("PostgreSQL is away")
        await end_cancelled(stage, job_ids)

    monkeypatch.setattr(direct, "end_cancelled", away_at_first)
    stack.server.faults.add("document", "slow", seconds=60)
    sync = asyncio.create_task(stack.sync("A23"))

    async def asked_for() -> bool:
        return stack.server.log.counts.get("document", 0) > 0

    await eventually(asked_for)
    await cancel_run(stack.services, str((await stack.run("A23"))["id"]))
    async with asyncio.timeout(120):
        await sync
    run = await stack.run("A23")
    assert (run["status"], run["open_jobs"]) == ("cancelled", 0)
    assert max(tries.values()) == 2


async def test_a_job_that_ended_during_the_look_at_claims_is_not_stopped_when_it_runs_again(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look in the pause between two attempts finds a claim that holds no more: the attempt's, not the job's."""
    monkeypatch.setattr(direct, "RENEW_EVERY_S", 0.1)
    look, looks = ledger.lost, 0

    async def slow_at_first(db: Any, jobs: Any) -> set[str]:
        nonlocal looks
        looks += bool(jobs)
        if looks == 1:
            await eventually(lambda: stack.value("SELECT bool_or(attempts > 0) FROM jobs"))
        return await look(db, jobs)

    monkeypatch.setattr(ledger, "lost", slow_at_first)
    async with make_stack(plain_feed(families=6, variants=1), concurrency_documents=1) as stack:
        stack.server.habits.latency_s = 0.2
        stack.server.faults.add("manifest", "status", status=503, times=1)
        async with asyncio.timeout(30):
            await stack.sync()
        assert (await stack.run("A23"))["status"] == "completed"


async def test_an_outage_at_the_end_of_a_direct_sync_is_waited_out(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[str] = []

    def away_once(name: str, work: Any) -> Any:
        async def at_first(*arguments: Any) -> Any:
            if name not in met:
                met.append(name)
                raise DatabaseUnavailable("PostgreSQL is away")
            return await work(*arguments)

        return at_first

    monkeypatch.setattr(direct, "number_all", away_once("numbers", number_all))
    monkeypatch.setattr(runs, "direct_totals", away_once("totals", runs.direct_totals))
    results = await stack.sync()
    assert ([result.supplier for result in results], met) == (["A23", "A360"], ["numbers", "totals"])
