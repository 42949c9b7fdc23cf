"""Everything at once for half an hour, and then the question whether the catalogue is still the feed's.

each round:   some documents change, go and return ─▶ sync ─▶ wait for its end
all the time: answers of the origin and 5 % of the store's fail, a worker is killed each minute, a listener on /events
every 10 s:   memory, descriptors, connections, Redis keys, rows
at the end:   no faults, one forced sync ─▶ compared with a fresh installation's cold sync of the same feed
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import psutil
from redis.asyncio import Redis

from app.jobs.definitions import QUEUES
from app.sync.operating.discovery import discover
from app.sync.operating.start import StartRequest, start_queued
from bench.bucket import serving_bucket
from bench.faulty_store import failing_store
from bench.ground import Feed, Ground, Process, Servers, fresh_ground, serving_feed, spawn, wait_ready
from bench.report import Section
from bench.soak_report import KILL_EVERY_S, Course, section_of

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
SEED = 20_26
FAULT_SHARE = 0.05
LOOK_EVERY_S = 10.0
RUN_WITHIN_S = 300.0
TABLES = (
    "jobs",
    "runs",
    "problems",
    "changes",
    "products",
    "variants",
    "addresses",
    "media",
    "queue_moves",
    "manifests",
)
FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("document", {"action": "status", "status": 503}),
    ("document", {"action": "reset"}),
    ("document", {"action": "cut"}),
    ("picture", {"action": "status", "status": 500}),
    ("picture", {"action": "reset"}),
    ("picture", {"action": "cut"}),
    ("picture", {"action": "status", "status": 429, "retry_after": "1"}),
    ("manifest", {"action": "status", "status": 502}),
)
EXPLAINED = re.compile(r"answered (429|500|502|503)|ended early|connection was lost")
"""What a run says of one of them."""
CATALOGUE = """
SELECT s.code, p.sku, p.content, v.sku AS variant, v.content AS variant_content, t.tiers, i.packed,
    (SELECT array_agg(encode(m.sha256, 'hex') ORDER BY g.position) FROM shown_pictures g
     JOIN addresses a ON a.id = g.address_id AND a.state = 'stored' JOIN media m ON m.id = a.media_id
     WHERE g.variant_id = v.id
       AND g.generation = CASE WHEN v.shown_generation > 0 THEN v.shown_generation ELSE v.generation END) AS pictures
FROM products p JOIN suppliers s ON s.id = p.supplier_id JOIN variants v ON v.product_id = p.id
LEFT JOIN prices t ON t.variant_id = v.id LEFT JOIN imprint_positions i ON i.variant_id = v.id
WHERE p.status = 'active' AND v.status = 'active' ORDER BY s.code, p.sku, v.sku
"""


class Crew:
    """The workers and the API, each replaced when it is gone."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.running: dict[str, Process] = {queue: self._worker(queue) for queue in QUEUES}
        self.port = 18_000 + os.getpid() % 2_000
        arguments = ["uvicorn", "app.main:app", "--port", str(self.port), "--log-level", "error"]
        self.api = spawn("api", arguments, ground.env)

    def _worker(self, queue: str) -> Process:
        return spawn(queue, ["bench.worker_process", queue, "--out", os.devnull], self._ground.env)

    def kill(self, queue: str) -> None:
        """As a power cut would, with another one in its place."""
        self.running[queue].kill()
        self.running[queue] = self._worker(queue)

    def stop(self) -> None:
        """End all of them."""
        for process in (*self.running.values(), self.api):
            process.stop()

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """Those that live, by name."""
        named = [*self.running.items(), ("api", self.api)]
        return [(name, psutil.Process(process.pid)) for name, process in named if process.popen.poll() is None]


def measure(servers: Servers, *, quick: bool) -> Section:
    """The part `soak`; SOAK_MINUTES says for how long."""
    minutes = 0.3 if quick else MINUTES
    options = ["--suppliers", "3", "--families", "40", "--small"]
    with serving_feed(*options) as feed, serving_bucket(servers.folder) as bucket:
        return asyncio.run(_soak(servers, feed, bucket.endpoint_url, bucket.env, minutes * 60))


async def _soak(servers: Servers, feed: Feed, endpoint: str, env: dict[str, str], seconds: float) -> Section:
    course = Course()
    async with (
        failing_store(endpoint, share=FAULT_SHARE, seed=SEED) as (address, store),
        fresh_ground(servers, feed.base_url, settings={**env, "S3_ENDPOINT_URL": address}) as ground,
    ):
        await discover(ground.services)
        crew = Crew(ground)
        try:
            await wait_ready(ground, list(crew.running.values()))
            await _course(ground, feed, crew, course, seconds)
            await asyncio.to_thread(_count_faults, feed, course)
            await asyncio.to_thread(feed.forget_faults)
            await _sync(ground, course, force=True)
        finally:
            crew.stop()
        soaked = await ground.rows(CATALOGUE)
    fresh = await _cold(servers, feed, {**env, "S3_ENDPOINT_URL": endpoint})
    return section_of(course, store, seconds, differing=_differing(soaked, fresh), rows=len(fresh))


async def _course(ground: Ground, feed: Feed, crew: Crew, course: Course, seconds: float) -> None:
    skus, over_at = await asyncio.to_thread(_skus, feed), time.monotonic() + seconds
    beside = [
        asyncio.create_task(task)
        for task in (_kill(crew, course), _listen(crew, course), _look(ground, crew, course), _fail(feed))
    ]
    chance = random.Random(SEED)
    try:
        while time.monotonic() < over_at:
            await asyncio.to_thread(_change, feed, skus, course, chance)
            await _sync(ground, course)
            for task in beside:
                if task.done():
                    task.result()
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)


def _change(feed: Feed, skus: Sequence[str], course: Course, chance: random.Random) -> None:
    for sku in chance.sample(skus, 5):
        change = chance.choice(
            ("change_price", "rename", "swap_picture", "add_variant", "hide_family", "restore_family")
        )
        with suppress(httpx.HTTPStatusError):  # what this document has nothing of cannot be changed
            feed.change(change, sku)
            course.changes[change] += 1


def _count_faults(feed: Feed, course: Course) -> None:
    course.asked_of_origin = sum(feed.requests().values())
    course.failed_by_origin = feed.fault_hits()


def _skus(feed: Feed) -> list[str]:
    """Of all documents, as the manifest names them before anything is hidden."""
    manifest = httpx.get(f"{feed.base_url}/Import/Import.txt").raise_for_status().text
    names = {line.split("|")[0].rpartition("/")[2] for line in manifest.splitlines()}
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


async def _sync(ground: Ground, course: Course, **options: Any) -> None:
    started = [item.run_id for item in await start_queued(ground.services, StartRequest(**options))]
    async with asyncio.timeout(RUN_WITHIN_S):
        while True:
            await asyncio.sleep(0.5)
            ended = await ground.rows(
                "SELECT status, error FROM runs WHERE finished_at IS NOT NULL AND id = ANY($1::uuid[])", started
            )
            if len(ended) == len(started):
                break
    course.ends.update(row["status"] for row in ended)
    course.unexplained += sum(not _is_explained(row["status"], row["error"]) for row in ended)
    course.errors.update(str(row["error"])[:80] for row in ended if row["error"])


def _is_explained(status: str, error: str | None) -> bool:
    return status == "completed" or (error is not None and EXPLAINED.search(error) is not None)


async def _kill(crew: Crew, course: Course) -> None:
    while True:
        await asyncio.sleep(KILL_EVERY_S)
        crew.kill(QUEUES[course.kills % len(QUEUES)])
        course.kills += 1


async def _fail(feed: Feed) -> None:
    """Some faults each second, so that about one answer in twenty is one while much is asked."""
    chance = random.Random(SEED)
    async with httpx.AsyncClient() as client:
        while True:
            await asyncio.sleep(1)
            pattern, fault = chance.choice(FAULTS)
            await client.post(f"{feed.control}/faults", json={"pattern": pattern, "times": 3, "for_s": 5, **fault})


async def _listen(crew: Crew, course: Course) -> None:
    last = ""
    while True:
        with suppress(httpx.HTTPError):
            async for line in _events(crew.port, last):
                course.events += line.startswith("data:")
                last = line.removeprefix("id:").strip() if line.startswith("id:") else last
        course.listeners += 1
        await asyncio.sleep(1)


async def _events(port: int, last: str) -> AsyncIterator[str]:
    headers = {"Last-Event-ID": last} if last else {}
    timeout = httpx.Timeout(60, connect=5)
    async with (
        httpx.AsyncClient(timeout=timeout) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/api/v1/events", headers=headers) as answer,
    ):
        async for line in answer.aiter_lines():
            yield line


async def _look(ground: Ground, crew: Crew, course: Course) -> None:
    async with Redis.from_url(ground.servers.valkey.url) as redis:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            course.looks.append(await _seen(ground, crew, redis))


async def _seen(ground: Ground, crew: Crew, redis: Redis) -> dict[str, float]:
    seen: dict[str, float] = {"Redis keys": float(await redis.dbsize())}
    for name, process in crew.processes():
        with suppress(psutil.Error):
            seen[f"{name}: memory, MB"] = process.memory_info().rss / 1e6
            seen[f"{name}: descriptors"] = float(process.num_fds())
    counts = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in TABLES)
    (rows,) = await ground.rows(f"SELECT {counts}")
    (connections,) = await ground.rows(
        "SELECT count(*) AS number FROM pg_stat_activity WHERE datname = current_database()"
    )
    seen |= {f"rows of {name}": float(number) for name, number in rows.items()}
    return seen | {"connections": float(connections["number"])}


async def _cold(servers: Servers, feed: Feed, settings: dict[str, str]) -> list[dict[str, Any]]:
    async with _installation(servers, feed, settings) as ground:
        await _sync(ground, Course())
        return await ground.rows(CATALOGUE)


@asynccontextmanager
async def _installation(servers: Servers, feed: Feed, settings: dict[str, str]) -> AsyncIterator[Ground]:
    async with fresh_ground(servers, feed.base_url, settings=settings) as ground:
        await discover(ground.services)
        crew = Crew(ground)
        try:
            await wait_ready(ground, list(crew.running.values()))
            yield ground
        finally:
            crew.stop()


def _differing(soaked: Sequence[dict[str, Any]], fresh: Sequence[dict[str, Any]]) -> int:
    """Variants that are in one of the two alone, or differ."""
    there = {(row["code"], row["variant"]): row for row in soaked}
    here = {(row["code"], row["variant"]): row for row in fresh}
    return sum(there.get(key) != here.get(key) for key in there.keys() | here.keys())
