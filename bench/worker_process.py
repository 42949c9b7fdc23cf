"""A worker process that tells what it used.

`python -m bench.worker_process QUEUE --out FILE [--sample] [--count] [--bare] [--unmeasured]`

It is the product's worker. `--count` counts round trips to PostgreSQL and Redis, `--sample` says where CPU seconds go;
`--bare` puts a job that does nothing in place of the queue's own (`queue_jobs.py`), with the ledger as it is;
`--unmeasured` counts nothing for Prometheus. Ended by SIGTERM, it writes FILE.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import sys
from collections import Counter as Counts
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
import uvloop
from prometheus_client import Counter, Histogram
from sqlalchemy import event
from sqlalchemy.engine import Engine

from app import traces
from app.jobs.definitions import IMAGE_UPLOAD, QUEUES, QueueName, policies
from app.logs import configure_logs
from app.metrics.listening import open_metrics
from app.persistence.migrations import wait_for_schema
from app.settings import load_settings
from app.sync.services import open_services
from bench.queue_jobs import BareJobs
from bench.sampler import CpuSampler
from workers.priority import give_way
from workers.runtime import Worker
from workers.start import freeze


def main() -> None:
    options = _options()
    sampler = CpuSampler() if options.sample else None
    trips = count_round_trips() if options.count else Counts()
    give_way(load_settings().workers_nice)
    gc.freeze()  # as a worker does
    if options.unmeasured:
        count_nothing()
    uvloop.run(_work(options.queue, sampler, bare=options.bare, measured=not options.unmeasured))
    options.out.write_bytes(orjson.dumps(_told(sampler, trips)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("queue", choices=QUEUES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--unmeasured", action="store_true")
    return parser.parse_args()


async def _work(name: QueueName, sampler: CpuSampler | None, *, bare: bool, measured: bool) -> None:
    settings = load_settings()
    configure_logs(settings.log_level)
    async with (
        open_metrics(settings.metrics_host, settings.metrics_port, name) if measured else nullcontext(),
        traces.exporting(settings, f"worker {name}"),
        open_services(settings, store_at_once=name == IMAGE_UPLOAD) as services,
    ):
        assert services.queue is not None
        assert settings.redis_url is not None
        await wait_for_schema(services.database)
        handler = BareJobs(services).run if bare else None
        url = settings.redis_url.get_secret_value()
        worker = Worker(services, services.queue, url, name, policies(settings)[name], handler=handler)
        freeze()
        if sampler:
            sampler.start()
        await worker.run()
        if sampler:
            sampler.stop()


def count_nothing() -> None:
    """Leave metrics at what they are, as if nobody had thought of them."""

    def nothing(*_: object) -> None:
        pass

    Counter.inc = Histogram.observe = nothing  # type: ignore[method-assign,assignment]


def count_round_trips() -> Counts[str]:
    """Count from now on what this process sends to PostgreSQL (statements, BEGIN and COMMIT too) and to Redis."""
    trips: Counts[str] = Counts()

    def note(_: object) -> None:
        trips["postgres"] += 1

    @event.listens_for(Engine, "connect")
    def listen(connection: Any, _: object) -> None:
        connection.driver_connection.add_query_logger(note)

    write = asyncio.StreamWriter.writelines  # redis-py's, and nobody else's here

    def counting(self: asyncio.StreamWriter, data: Any) -> None:
        trips["redis"] += 1
        write(self, data)

    asyncio.StreamWriter.writelines = counting  # type: ignore[method-assign]
    return trips


def _told(sampler: CpuSampler | None, trips: Counts[str]) -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told: dict[str, Any] = {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": peak_mb(), "trips": dict(trips)}
    return told | (sampler.told() if sampler else {})


def peak_mb() -> float:
    """This program's largest resident memory; `ru_maxrss` would count what its starter had before exec."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


if __name__ == "__main__":
    main()
