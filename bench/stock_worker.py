"""A worker of stock ARQ for the comparison: `python -m bench.stock_worker QUEUE REDIS_URL POLL_S OUT [--count]`.

ARQ as it comes: pickle, its own polling loop, ten jobs at once, no results kept. Ended by SIGTERM, it writes OUT.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import uvloop
from arq.connections import RedisSettings
from arq.worker import Worker, func

from bench.queue_jobs import Stamps
from bench.worker_process import count_round_trips, peak_mb

SLOTS = 10


async def bare_job(ctx: dict[str, Any], batch: str, of: int, sleep_s: float) -> None:
    """Nothing, or a sleep."""
    stamps: Stamps = ctx["stamps"]
    stamps.begin(batch)
    if sleep_s:
        await asyncio.sleep(sleep_s)
    await stamps.end(batch, of)


async def _start(ctx: dict[str, Any]) -> None:
    ctx["stamps"] = Stamps(ctx["redis"])


async def _work(queue: str, url: str, poll_s: float) -> None:
    worker = Worker(
        functions=[func(bare_job, name="bare_job")],
        queue_name=queue,
        redis_settings=RedisSettings.from_dsn(url),
        on_startup=_start,
        max_jobs=SLOTS,
        poll_delay=poll_s,
        keep_result=0,
    )
    for work in (worker.async_run, worker.close):
        with suppress(asyncio.CancelledError):  # how ARQ ends on SIGTERM, and again for a job that was not finished
            await work()


def main() -> None:
    queue, url, poll_s, out, *options = sys.argv[1:]
    trips: Counter[str] = count_round_trips() if "--count" in options else Counter()
    uvloop.run(_work(queue, url, float(poll_s)))
    Path(out).write_bytes(orjson.dumps({"trips": dict(trips), "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
