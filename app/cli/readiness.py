"""Waiting until everything that `up` started works: the API says so itself, workers by their heartbeats."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from pathlib import Path

from app.cli.embedded.server import tail
from app.cli.programs import Feed
from app.cli.up_file import UpError
from app.coordination.heartbeats import live_workers
from app.errors import QueueUnavailable
from app.jobs.queue import RedisQueue
from app.outbound.loopback import Loopback, open_loopback

READY_WITHIN_S = 90.0
LOOK_EVERY_S = 0.1


async def wait_until_ready(
    api_url: str,
    queue: RedisQueue,
    feed: Feed,
    *,
    workers: Collection[str],
    pids: Callable[[], dict[str, int]],
    logs: Path,
) -> None:
    """Return when feed, API and all `workers` are ready, which are named as `pids` names them.

    Raises:
        UpError: they were not within 90 s; names what is missing and what it wrote last.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    async with open_loopback() as loopback:
        while missing := _silent(workers, pids(), await _beating(queue)) | await _refusing(loopback, api_url, feed):
            if time.monotonic() > deadline:
                raise UpError(f"not ready after {READY_WITHIN_S:.0f} s: {_explain(missing, logs)}")
            await asyncio.sleep(LOOK_EVERY_S)


def _silent(workers: Collection[str], pids: dict[str, int], beating: set[int]) -> dict[str, str]:
    return {name: "" for name in workers if pids.get(name) not in beating}


async def _refusing(loopback: Loopback, api_url: str, feed: Feed) -> dict[str, str]:
    """What does not serve, with what it says of that."""
    asked = {"api": await loopback.refusal(f"{api_url}/readyz")}
    if feed.port is not None:
        asked["sample-feed"] = await loopback.refusal(f"{feed.base_url}/Import/Import.txt", method="HEAD")
    return {name: said for name, said in asked.items() if said is not None}


async def _beating(queue: RedisQueue) -> set[int]:
    try:
        return {worker.pid for worker in await live_workers(queue.redis, queue.keys)}
    except QueueUnavailable:
        return set()


def _explain(missing: dict[str, str], logs: Path) -> str:
    parts = []
    for name, said in missing.items():
        log = logs / f"{name}.log"
        lines = [f"{name}: {said}" if said else name, f"its log is {log}", tail(log) if log.exists() else ""]
        parts.append("\n".join(line for line in lines if line))
    return "\n".join(parts)
