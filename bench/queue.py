"""The queue by itself: stock ARQ and ours with its ledger, on the same servers, in turn in every round.

rates        fill the queue ─▶ start a worker ─▶ first start to last end, as the worker saw it
pick-up      one job to an idle worker: from the call that enqueues it to its start
recovery     SIGKILL of the worker that has the job ─▶ its start on another, on each queue at once
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import uvloop
from redis.asyncio import Redis

from app.jobs.definitions import QUEUES, QueueName
from bench.contenders import Contender, Ours, StockArq
from bench.ground import Ground, Process, Servers, fresh_ground
from bench.least import Least
from bench.plots import Plot
from bench.queue_jobs import HANG_S, STAMPS
from bench.report import Figure, Section, Table

SLOW_FLUSH = {"commit_delay": "2000", "commit_siblings": "0"}
ARQ_RECOVERY_S = 1_810
"""By its construction: its time-out of 30 minutes and 10 s; not waited for."""
RECOVERY_WITHIN_S = 15.0
SHORT_SLEEP_S = 0.01
OVER_WITHIN_S = 120
OURS = "ours, with the ledger"
OURS_SLOW = "ours, each flush 2 ms slower"
YARDSTICK = "ARQ, polling every 10 ms"


@dataclass(frozen=True)
class Load:
    """How much of everything."""

    rounds: int = 3
    bare: int = 10_000
    bare_polling: int = 3_000
    bare_stock: int = 1_000
    short: int = 2_000
    short_stock: int = 100
    one_by_one: int = 500
    bulk: int = 20_000
    pick_ups: int = 200
    pick_ups_stock: int = 40
    kills: int = 7
    """A queue; three queues at once."""

    def jobs(self, contender: str, sleep_s: float) -> int:
        """How many jobs a rate is measured with: about the same time for each."""
        if contender.endswith("500 ms"):
            return self.short_stock if sleep_s else self.bare_stock
        if sleep_s:
            return self.short
        return self.bare_polling if contender == YARDSTICK else self.bare


QUICK = Load(1, 200, 100, 50, 50, 10, 20, 200, 5, 2, 1)
Results = dict[str, dict[str, list[float]]]


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `queue`."""
    load = QUICK if quick else Load()
    results: Results = defaultdict(lambda: defaultdict(list))
    asyncio.run(_measure_rates(servers, load, results))  # ARQ's callers have asyncio's own loop
    least = uvloop.run(_measure_waits(servers, load, results))  # as the API's process, which enqueues
    return _section(load, results, least)


@asynccontextmanager
async def _contenders(servers: Servers) -> AsyncIterator[tuple[Ground, list[Contender]]]:
    async with (
        fresh_ground(servers) as ground,
        fresh_ground(servers, database_settings=SLOW_FLUSH) as slow,
    ):
        contenders: list[Contender] = [
            StockArq(ground, 0.5),
            StockArq(ground, 0.01),
            Ours(ground, OURS),
            Ours(slow, OURS_SLOW),
        ]
        yield ground, contenders
        for contender in contenders:
            await contender.close()


async def _measure_rates(servers: Servers, load: Load, results: Results) -> None:
    async with _contenders(servers) as (ground, contenders):
        for _ in range(load.rounds):
            for contender in contenders:
                await _round(ground, contender, load, results[contender.name])
        for contender in contenders:
            await _count(ground, contender, load, results[contender.name])


async def _measure_waits(servers: Servers, load: Load, results: Results) -> list[float]:
    """Pick-ups and recoveries; returns the least that a pick-up takes."""
    least: list[float] = []
    async with _contenders(servers) as (ground, contenders):
        for _ in range(load.rounds):
            for contender in contenders:
                pick_ups = load.pick_ups_stock if contender.name.endswith("500 ms") else load.pick_ups
                results[contender.name]["pick-up, ms"] += await _pick_ups(ground, contender, pick_ups)
            least += await _least_pick_ups(ground, load.pick_ups)
    async with fresh_ground(servers) as ground:
        results[OURS]["recovery, s"] = await _recoveries(ground, load.kills)
    return least


async def _round(ground: Ground, contender: Contender, load: Load, result: dict[str, list[float]]) -> None:
    started = time.perf_counter()
    batch = "one by one"
    for _ in range(load.one_by_one):
        await contender.enqueue(batch, load.one_by_one, 0.0)
    result["enqueue/s one at a time"].append(load.one_by_one / (time.perf_counter() - started))
    await _drain(ground, contender, batch)
    for sleep_s, name in ((0.0, "no-op jobs/s"), (SHORT_SLEEP_S, "10 ms jobs/s")):
        count = load.jobs(contender.name, sleep_s)
        started = time.perf_counter()
        await contender.enqueue_many(name, count, sleep_s)
        if not sleep_s:
            result["enqueue/s in bulk"].append(count / (time.perf_counter() - started))
        stamp = await _drain(ground, contender, name)
        result[name].append(count / (stamp["last"] - stamp["first"]))


async def _drain(ground: Ground, contender: Contender, batch: str) -> dict[str, Any]:
    """Let a new worker work off a batch; its stamp."""
    worker = await contender.start_worker()
    stamp = await _stamp(ground, contender, batch)
    worker.stop()
    return stamp


async def _stamp(ground: Ground, contender: Contender | Least, batch: str) -> dict[str, Any]:
    """What the worker writes when a batch is over.

    Raises:
        RuntimeError: it does not in time; says what is left in the queue.
    """
    async with Redis.from_url(ground.servers.valkey.url) as redis:
        while True:
            found = await redis.blpop([STAMPS], timeout=OVER_WITHIN_S)
            if found is None:
                raise RuntimeError(f"{contender.name}: {batch} is not over: {await contender.describe()}")
            stamp: dict[str, Any] = orjson.loads(found[1])
            if stamp["batch"] == batch:
                return stamp


async def _pick_ups(ground: Ground, contender: Contender | Least, count: int) -> list[float]:
    """From the call to the start of a job, in ms, with an idle worker; at random moments of its polling."""
    worker = await contender.start_worker()
    waits = []
    for number in range(count):
        await asyncio.sleep(random.uniform(0.02, 0.06))
        called_at = time.time()
        await contender.enqueue(f"pick-up {number}", 1, 0.0)
        stamp = await _stamp(ground, contender, f"pick-up {number}")
        waits.append((stamp["first"] - called_at) * 1000)
    worker.stop()
    return waits


async def _least_pick_ups(ground: Ground, count: int) -> list[float]:
    least = Least(ground)
    try:
        return await _pick_ups(ground, least, count)
    finally:
        await least.close()


async def _count(ground: Ground, contender: Contender, load: Load, result: dict[str, list[float]]) -> None:
    """Round trips and commands a no-op job, of the worker and of the server."""
    count = load.jobs(contender.name, 0.0)
    await contender.enqueue_many("counted", count, 0.0)
    async with Redis.from_url(ground.servers.valkey.url) as redis:
        before = await _commands(redis)
        worker = await contender.start_worker("--count")
        await _stamp(ground, contender, "counted")
        result["Redis commands a job, in scripts too"] = [(await _commands(redis) - before) / count]
    trips = worker.stop()["trips"]
    result["Redis round trips a job"] = [trips.get("redis", 0) / count]
    result["PostgreSQL statements a job"] = [trips.get("postgres", 0) / count]


async def _commands(redis: Redis) -> int:
    stats = await redis.info("commandstats")
    return sum(int(stat["calls"]) for stat in stats.values())


async def _recoveries(ground: Ground, kills: int) -> list[float]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_recoveries_of(ground, queue, kills)) for queue in QUEUES]
    return [wait_s for task in tasks for wait_s in task.result()]


async def _recoveries_of(ground: Ground, queue: QueueName, kills: int) -> list[float]:
    """Two workers of a queue, one job that hangs; whoever has it is killed, and a new one takes its place."""
    ours = Ours(ground, queue, queue)
    crew = {process.pid: process for process in [await ours.start_worker(), await ours.start_worker()]}
    waits = []
    for number in range(kills):
        waits.append(await _recovery(ground, ours, crew, f"hang {queue} {number}"))
        fresh = await ours.start_worker()
        crew[fresh.pid] = fresh
    for process in crew.values():
        process.stop()
    return waits


async def _recovery(ground: Ground, ours: Ours, crew: dict[int, Process], batch: str) -> float:
    async with Redis.from_url(ground.servers.valkey.url) as redis:
        await ours.enqueue(batch, 2, HANG_S)  # 2: no stamp at its end
        holder = await _own_stamp(redis, batch)
        await asyncio.sleep(random.uniform(0.5, 3.5))  # any moment between two heartbeats
        crew.pop(holder["pid"]).kill()
        killed_at = time.time()
        return float((await _own_stamp(redis, batch))["first"] - killed_at)


async def _own_stamp(redis: Redis, batch: str) -> dict[str, Any]:
    """The batch's next stamp; others on the list are left to those who wait for them."""
    while True:
        for raw in await _both_types(redis.lrange(STAMPS, 0, -1)):
            stamp: dict[str, Any] = orjson.loads(raw)
            if stamp["batch"] == batch:
                await _both_types(redis.lrem(STAMPS, 1, raw))
                return stamp
        await asyncio.sleep(0.02)


async def _both_types(answer: Awaitable[Any] | object) -> Any:
    """Await what redis types as the answer of its two clients at once."""
    assert isinstance(answer, Awaitable)
    return await answer


def _section(load: Load, results: Results, least: Sequence[float]) -> Section:
    return Section(
        "The queue, against stock ARQ",
        f"One worker process with 10 slots, {load.rounds} rounds of each in turn on the same Valkey and PostgreSQL "
        "(fsync on), medians. Our jobs are claimed in the ledger, and end in a commit of result, state and the run's "
        "counters; ARQ keeps no ledger and no results. A rate is from the first start to the last end in the worker.",
        [_table(results), _recovery_table(results)],
        _figures(results),
        [
            "ARQ has no bulk enqueue: its figure is 100 single calls at once.",
            "Rates: the client has asyncio's own loop, as ARQ's callers have; on uvloop its single calls are quicker.",
            "Pick-up: from the call that enqueues to the job's code; for ours with the row's commit and the claim.",
            "Pick-ups: the client has uvloop, as our API.",
            _beside_the_least(results[OURS]["pick-up, ms"], least),
            f"ARQ takes a dead worker's job back after its time-out and 10 s: {ARQ_RECOVERY_S} s at 30 min; not tried.",
            f"Slower flushes: {', '.join(f'{name}={value}' for name, value in SLOW_FLUSH.items())} for that database.",
        ],
        _plots(results),
    )


def _beside_the_least(ours: Sequence[float], least: Sequence[float]) -> str:
    ratio = statistics.median(ours) / statistics.median(least)
    return (
        f"The least that a pick-up takes here, by bare asyncpg and redis-py: {_quantiles(least)} ms for a row that is "
        "committed, a message, a wake-up, a lease and a claim of the row (`bench/least.py`); "
        f"ours takes {ratio:.1f} times that."
    )


def _plots(results: Results) -> list[Plot]:
    rates = {
        name: [statistics.median(found[f"{name}/s"]) for found in results.values()]
        for name in ("no-op jobs", "10 ms jobs")
    }
    waits = sorted(results[OURS]["recovery, s"])
    kills = [str(number) for number in range(1, len(waits) + 1)]
    recovery = {"from the kill to the next start": waits, "goal": [RECOVERY_WITHIN_S] * len(waits)}
    return [
        Plot("throughput", "Jobs a second, one worker with 10 slots", "jobs/s", list(results), rates),
        Plot(
            "recovery",
            "Recovery after SIGKILL of the worker",
            "s",
            kills,
            recovery,
            "lines",
            "kills, the quickest first",
        ),
    ]


def _table(results: Results) -> Table:
    rates = ("enqueue/s one at a time", "enqueue/s in bulk", "no-op jobs/s", "10 ms jobs/s")
    counts = ("Redis commands a job, in scripts too", "Redis round trips a job", "PostgreSQL statements a job")
    rows = [[name, *(f"{statistics.median(results[who][name]):,.0f}" for who in results)] for name in rates]
    rows.append(["idle pick-up p50 / p99, ms", *(_quantiles(results[who]["pick-up, ms"]) for who in results)])
    rows += [[name, *(f"{results[who][name][0]:.2f}" for who in results)] for name in counts]
    return Table(("", *results), rows)


def _recovery_table(results: Results) -> Table:
    waits = sorted(results[OURS]["recovery, s"])
    cells = [str(len(waits)), f"{waits[0]:.1f}", f"{statistics.median(waits):.1f}", f"{waits[-1]:.1f}"]
    return Table(("kills", "least, s", "median, s", "most, s"), [cells], "From SIGKILL to the job's second start")


def _quantiles(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} / {p99(values):.1f}"


def p99(values: Sequence[float]) -> float:
    """The 99th percentile; of few values the largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def _figures(results: Results) -> list[Figure]:
    yardstick = {name: statistics.median(values) for name, values in results[YARDSTICK].items()}
    figures = []
    for who in (OURS, OURS_SLOW):
        ours = {name: statistics.median(values) for name, values in results[who].items()}
        ratio = ours["no-op jobs/s"] / yardstick["no-op jobs/s"]
        figures.append(Figure("F5", f"no-op jobs, {who}, against ARQ at 10 ms", f"{ratio:.1f} x", ">= 3 x", ratio >= 3))
        short = ours["10 ms jobs/s"]
        figures.append(Figure("F5", f"10 ms jobs/s, {who}", f"{short:.0f}", ">= 850", short >= 850))
    bulk = statistics.median(results[OURS]["enqueue/s in bulk"]) / yardstick["enqueue/s one at a time"]
    figures.append(Figure("F5", "bulk enqueue against ARQ's one at a time", f"{bulk:.1f} x", ">= 15 x", bulk >= 15))
    waits = results[OURS]["pick-up, ms"]
    quick = statistics.median(waits) <= 4 and p99(waits) <= 10
    figures.append(Figure("F6", "idle pick-up p50 / p99, ms", _quantiles(waits), "<= 4 / 10", quick))
    recoveries = results[OURS]["recovery, s"]
    worst = max(recoveries)
    figures.append(
        Figure(
            "F7",
            f"recovery, the most of {len(recoveries)} kills",
            f"{worst:.1f} s",
            "<= 15 s",
            worst <= RECOVERY_WITHIN_S,
        )
    )
    return figures
