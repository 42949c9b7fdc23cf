"""A direct sync, end to end on real parts: what the feed says is what the catalogue has."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from app.errors import DatabaseUnavailable
from app.persistence import ledger
from app.sync.operating.by_hand import cancel_run
from app.sync.running import direct
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
    """The first `times` claims of each queue that bring something are committed, and their answers lost."""
    lost, claim = Counter[str](), ledger.claim_of_run

    async def committed_and_lost(db: Any, run_id: str, queue: str, limit: int, in_hand: Any = ()) -> Any:
        claimed = await claim(db, run_id, queue, limit, in_hand)
        if claimed and lost[queue] < times:
            lost[queue] += 1
            raise DatabaseUnavailable("the connection broke after the commit")
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
