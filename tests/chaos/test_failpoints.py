"""A process dies at each commit and each send in turn; afterwards everything is as if nothing had happened.

The list is made from the code: a new commit in the stages is tried without anybody remembering to (ENGINE.md 8).
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import importlib
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.failpoints import name_of
from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY
from app.persistence.breaking import SAID
from app.samplefeed import FeedSpec, SampleFeed
from app.sync.operating.by_hand import cancel_run
from tests.support.stack import Servers
from tests.support.truth import (
    assert_as_if_nothing_had_happened,
    assert_catalogue_equals_feed,
    assert_nothing_left_over,
    assert_store_equals_feed,
)
from tests.support.worker_stack import QUEUE_NAMES, WorkerProcess, Workers, until, worker_stack

SYNC = Path(__file__).parents[2] / "app" / "sync"
ALL_MODULES = {f"{path.parent.name}.{path.stem}" for path in SYNC.glob("*/*.py")}
ELSEWHERE = {name for name in ALL_MODULES if name.startswith("operating.")} | {
    "running.direct",
    "upkeep.retention",
    "upkeep.schedules",
    "upkeep.webhooks",
}
"""Modules whose commits are made for a caller, by the clock, or after a run's end: not during an ordinary sync."""


def commits_of(modules: Iterable[str]) -> Iterator[str]:
    """The names of all commits in modules of app/sync, `folder.module` each: what hands work to `transact`."""
    for module in sorted(modules):
        for name, function in _functions(ast.parse((SYNC / f"{module.replace('.', '/')}.py").read_text()).body):
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and _is_transact(node.func)]
            yield from dict.fromkeys(_name(module, name, call.args[0]) for call in calls)


def _functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{node.name}.")
        elif isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef)):
            yield prefix + node.name, node


def _is_transact(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == "transact"


def _name(module: str, function: str, work: ast.expr) -> str:
    if isinstance(work, ast.Attribute) and isinstance(work.value, ast.Name):
        return name_of(getattr(importlib.import_module(f"app.persistence.{work.value.id}"), work.attr))
    return f"{module}.{function}"


STAGES = ALL_MODULES - ELSEWHERE
COMMITS = [f"{name}:{side}" for name in commits_of(STAGES) for side in ("before-commit", "after-commit")]
SENDS = [f"send.{queue}:{side}" for queue in (PRODUCT_FAMILY, IMAGE_UPLOAD) for side in ("before", "after")]
EXCHANGES = [f"exchange.{queue}:{side}" for queue in QUEUE_NAMES for side in ("before", "after")]
LISTENS = [f"listen.{queue}:after" for queue in QUEUE_NAMES]
CLAIMS = [f"claim.{queue}:after-commit" for queue in QUEUE_NAMES]
PUTS = ["picture:before-put", "picture:after-put"]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What brings a sync to a point that it does not come by otherwise."""

    prepare: Callable[[Workers], Awaitable[None]] | None = None
    """Before the workers."""
    meanwhile: Callable[[Workers], Awaitable[None]] | None = None
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of the sync."""
    mended: bool = False
    """The first run does not bring everything: the next ordinary one does."""
    begin_idle: bool = False
    """The workers wait for jobs when the sync starts."""


async def _sync_before(workers: Workers) -> None:
    for _ in range(2):
        await workers.stack.sync()


async def _fail_categories(workers: Workers) -> None:
    workers.stack.server.faults.add("category", "status", status=500)


async def _fail_a_picture_once(workers: Workers) -> None:
    workers.stack.server.faults.add("picture", "status", status=500, times=1)


async def _lose_a_picture(workers: Workers) -> None:
    workers.stack.server.faults.add("picture", "status", status=404, times=1)


async def _slow_pictures(workers: Workers) -> None:
    workers.stack.server.faults.add("picture", "slow", seconds=2.0, times=40)


async def _cancel_in_the_pictures(workers: Workers) -> None:
    await _first_picture(workers)
    (run,) = await workers.stack.rows("SELECT id FROM runs")
    await cancel_run(workers.stack.services, str(run["id"]))


async def _first_picture(workers: Workers) -> None:
    await until(lambda: workers.stack.server.log.counts.get("picture", 0) > 0, 60)


async def _stop_in_the_pictures(workers: Workers) -> None:
    await _first_picture(workers)
    for worker in workers.of(IMAGE_UPLOAD):
        worker.terminate()


async def _pause_families(workers: Workers) -> None:
    await _execute(workers, "UPDATE queues SET paused = true WHERE name = 'product-family'")


async def _move_a_document_on(workers: Workers) -> None:
    """As if a newer document had been fetched since the jobs were made."""
    await until(lambda: workers.stack.rows("SELECT 1 FROM jobs WHERE queue = 'supplier-sync' AND state = 'completed'"))
    await _execute(
        workers, "UPDATE documents SET version = nextval('document_versions') WHERE fetched_hash IS NOT NULL"
    )
    await _execute(
        workers, "UPDATE document_bodies b SET version = d.version FROM documents d WHERE d.id = b.document_id"
    )
    await _execute(workers, "UPDATE queues SET paused = false")


async def _execute(workers: Workers, sql: str) -> None:
    async with workers.stack.services.database.begin() as db:
        await db.execute(text(sql))


REPARSE = Scenario(_sync_before, options={"reparse": True}, mended=True)
SCENARIOS = {
    "supplier.unchanged_step.finish_unchanged": Scenario(_sync_before, mended=True),
    "supplier.categories_step._give_back": Scenario(_fail_categories),
    "running.outcomes._delay": Scenario(_fail_a_picture_once, mended=True),
    "running.outcomes._end_failed": Scenario(_lose_a_picture, mended=True),
    "running.outcomes.end_cancelled": Scenario(_slow_pictures, _cancel_in_the_pictures, mended=True),
    "running.outcomes._hand_back": Scenario(
        _slow_pictures, _stop_in_the_pictures, {"JOB_TIMEOUT_IMAGE_MS": "1000"}, mended=True
    ),
    "supplier.reparse.reparse_supplier": REPARSE,
    "supplier.reparse._send_page": REPARSE,
    **{f"listen.{queue}": Scenario(begin_idle=True) for queue in QUEUE_NAMES},
}


POINTS = [*COMMITS, *SENDS, *EXCHANGES, *LISTENS, *CLAIMS, *PUTS]
CUTS = [f"{name}:cut" for name in (*commits_of(STAGES), *(f"claim.{queue}" for queue in QUEUE_NAMES))]


def test_the_points_are_found_in_the_code() -> None:
    assert len(POINTS) > 50
    assert {name.partition(":")[0] for name in CUTS} == {name.partition(":")[0] for name in COMMITS + CLAIMS}
    assert {name.rpartition(":")[0] for name in POINTS} >= SCENARIOS.keys()


@pytest.mark.chaos
@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_each_commit_and_each_send_leaves_no_trace(
    servers: Servers, tmp_path: Path, point: str
) -> None:
    await struck_at(servers, tmp_path, point, lambda worker: worker.ended_with == -signal.SIGKILL)


@pytest.mark.chaos
@pytest.mark.parametrize("point", CUTS)
async def test_a_commit_whose_answer_is_lost_leaves_no_trace(servers: Servers, tmp_path: Path, point: str) -> None:
    await struck_at(servers, tmp_path, point, lambda worker: SAID in worker.said())


async def struck_at(servers: Servers, folder: Path, point: str, is_struck: Callable[[WorkerProcess], bool]) -> None:
    """Sync with workers that are struck at `point`, and compare the outcome with one that was not."""
    scenario = SCENARIOS.get(point.partition(":")[0], Scenario())
    feed = SampleFeed(FeedSpec.small(count=1, families=3, variants=2, oddities=False))
    async with worker_stack(servers, folder, feed, environment={"LEASE_S": "2", **scenario.environment}) as workers:
        if scenario.prepare is not None:
            await scenario.prepare(workers)
        workers.spawn_all(PROMIDATA_FAILPOINT=point)
        if scenario.begin_idle:
            await workers.ready()
            await until(lambda: _all_keep_room(workers))
        await workers.start(**scenario.options)
        replacing = asyncio.create_task(workers.keep_alive())
        try:
            if scenario.meanwhile is not None:
                await scenario.meanwhile(workers)
            await workers.over()
            await until(lambda: any(is_struck(worker) for worker in workers.all))
        finally:
            replacing.cancel()
            await asyncio.wait([replacing])
        if scenario.mended:
            await assert_mended(workers)
        else:
            await assert_as_if_nothing_had_happened(workers.stack)


async def _all_keep_room(workers: Workers) -> bool:
    assert workers.stack.services.queue is not None
    keys = workers.stack.services.queue.keys.room("*")
    return len(await workers.stack.services.queue.redis.keys(keys)) == len(workers.all)


async def assert_mended(workers: Workers) -> None:
    """The next ordinary run brings what this one could not."""
    await assert_nothing_left_over(workers.stack)
    workers.stack.server.faults.clear()
    workers.replace_dead()
    await workers.start()
    await workers.over()
    await assert_nothing_left_over(workers.stack)
    await assert_catalogue_equals_feed(workers.stack)
    await assert_store_equals_feed(workers.stack)
