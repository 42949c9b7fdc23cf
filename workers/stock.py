"""A queue's work under ARQ's own worker: `arq workers.supplier.WorkerSettings`.

ARQ's command always builds its own worker, which polls and takes a dead worker's job back only after its time-out. The
claim and the fence in PostgreSQL are the same, so it is as correct as ours, and both may run on one queue.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any
from uuid import uuid4

from arq import Retry
from arq.connections import RedisSettings
from arq.worker import func
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from app import traces
from app.coordination.heartbeats import Beats
from app.errors import PromidataSyncError, SettingsError
from app.jobs.definitions import IMAGE_UPLOAD, STAGE_OF, QueueName, policies
from app.jobs.messages import FUNCTIONS, pack, unpack
from app.jobs.queue import RedisQueue
from app.jobs.tenancy import OTHERS_WAIT_MS
from app.logs import configure_logs
from app.metrics.listening import open_metrics
from app.persistence import ledger
from app.persistence.database import STAGE_WAIT_S
from app.setting_errors import ending_in_one_line
from app.settings import Settings, load_settings
from app.sync.running.handlers import handlers
from app.sync.running.outcomes import end_cancelled, work_off
from app.sync.services import open_services
from app.sync.stage.context import Stage
from app.sync.stage.progress import ProgressBoard
from app.sync.upkeep.chores import do_chores
from workers.heart import STUCK_AFTER_S, Heart
from workers.prefixed_redis import PrefixedRedis
from workers.pulse import open_pulse
from workers.start import try_redis, wait_for_database

NEVER = 10**9
"""ARQ counts every start as a try; attempts are the ledger's business."""
OVERTIME_S = 60
"""Beyond a job's own time-out, which the stage keeps by itself."""


def worker_settings(name: QueueName) -> type:
    """The settings class that `arq` looks up.

    Raises:
        SystemExit: a setting makes no sense, or REDIS_URL is missing.
    """
    sys.excepthook = tell_in_one_line
    with ending_in_one_line():
        settings = load_settings()
        if settings.redis_url is None:
            raise SettingsError("REDIS_URL is not set: a worker takes its jobs from Redis")
    policy = policies(settings)[name]

    async def start(ctx: dict[Any, Any]) -> None:
        configure_logs(settings.log_level)
        ctx["opened"] = opened = AsyncExitStack()
        pulse = await opened.enter_async_context(open_pulse(settings.worker_probe_file, name))
        await opened.enter_async_context(open_metrics(settings.metrics_host, settings.metrics_port, name))
        await opened.enter_async_context(traces.exporting(settings, f"worker {STAGE_OF[name]}"))
        services = await opened.enter_async_context(
            open_services(settings, wait_s=STAGE_WAIT_S, store_at_once=name == IMAGE_UPLOAD)
        )
        if services.queue is None:
            raise SettingsError("REDIS_URL is not set: a worker takes its jobs from Redis")
        await wait_for_database(services.database, services.queue)
        await try_redis_or_end(services.queue)
        ctx["stage"] = stage = Stage(services, services.queue, ProgressBoard(services.database))
        ctx["handler"] = handlers(stage)[name]
        lease_ms = round((policy.timeout_s + OVERTIME_S) * 1000)
        ctx["running"] = running = set[str]()
        heart = await opened.enter_async_context(shown_alive(settings, services.queue, name, running))
        ctx["chores"] = chores = asyncio.create_task(do_chores(stage, services.queue, name, lease_ms=lease_ms))
        if pulse is not None:
            pulse.watch(lambda: "its chores have ended" if chores.done() else heart.complaint())

    async def stop(ctx: dict[Any, Any]) -> None:
        if "chores" in ctx:  # it may not have come to them
            ctx["chores"].cancel()
        await ctx["opened"].aclose()

    async def run(ctx: dict[Any, Any], job_id: str) -> None:
        ctx["running"].add(job_id)
        try:
            await run_message(ctx, job_id, name)
        finally:
            ctx["running"].discard(job_id)

    return type(
        "WorkerSettings",
        (),
        {
            "functions": [func(run, name=FUNCTIONS[name], timeout=policy.timeout_s + OVERTIME_S, max_tries=NEVER)],
            "queue_name": name,
            **_redis(settings.redis_url.get_secret_value(), settings.redis_prefix),
            "job_serializer": staticmethod(pack),
            "job_deserializer": staticmethod(unpack),
            "on_startup": staticmethod(start),
            "on_shutdown": staticmethod(stop),
            "max_jobs": policy.slots,
            "job_timeout": policy.timeout_s + OVERTIME_S,
            "keep_result": 0,
            "max_tries": NEVER,
        },
    )


@asynccontextmanager
async def shown_alive(
    settings: Settings, queue: RedisQueue, name: QueueName, running: Collection[str]
) -> AsyncIterator[Heart]:
    """Show this process among the live workers; the leases of what is `running` are ARQ's, and not renewed."""
    assert settings.redis_url is not None
    worker_id, policy = uuid4().hex, policies(settings)[name]
    heart = Heart(
        settings.redis_url.get_secret_value(),
        queue.keys,
        name,
        worker_id,
        held=tuple,
        beats=Beats(worker_id, name, concurrency=policy.slots, active=lambda: len(running)),
        on_lost=lambda _: None,
        loop=asyncio.get_running_loop(),
        lease_s=settings.lease_s,
        stuck_after_s=policy.timeout_s + OVERTIME_S + STUCK_AFTER_S,
    )
    heart.start()
    try:
        yield heart
    finally:
        await asyncio.to_thread(heart.stop)


async def is_others(queue: RedisQueue | None) -> bool:
    """Whether a message of a job that the ledger does not have may be another installation's."""
    if queue is None:
        return False
    await queue.hold()
    return queue.tenancy.foreign


def _redis(url: str, prefix: str) -> dict[str, Any]:
    """Where ARQ finds its keys."""
    if not prefix:
        return {"redis_settings": RedisSettings.from_dsn(url)}
    pool = PrefixedRedis(ConnectionPool.from_url(url), job_serializer=pack, job_deserializer=unpack)
    pool.prefix = prefix
    return {"redis_pool": pool}


async def try_redis_or_end(queue: RedisQueue) -> None:
    """End the process with one line where Redis is not ours to use: ARQ would make a traceback of it."""
    try:
        await try_redis(queue)
    except SettingsError as error:
        sys.stderr.write(f"promidata-sync worker: {error}\n")
        sys.stderr.flush()
        os._exit(1)


def tell_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends ARQ's command, as our own commands tell it; ARQ would show its traceback. A bug keeps its own."""
    if isinstance(error, PromidataSyncError):
        sys.stderr.write(f"promidata-sync: {error}\n")
    elif isinstance(error, RedisError):
        sys.stderr.write(f"promidata-sync: REDIS_URL: Redis cannot be used: {error}\n")
    else:
        sys.__excepthook__(kind, error, trace)


async def run_message(ctx: dict[Any, Any], job_id: str, name: QueueName) -> None:
    """Claim one message's job and run it; asks ARQ to look again later where the ledger says so.

    Raises:
        Retry: later.
    """
    stage: Stage = ctx["stage"]
    async with stage.services.database.quick() as db:
        claimed, unclaimed = await ledger.claim(db, [job_id], queue=name)
    if unclaimed:
        if not unclaimed[0].closed:
            raise Retry(defer=unclaimed[0].wait_ms / 1000)
        if unclaimed[0].unknown and await is_others(stage.services.queue):
            raise Retry(defer=OTHERS_WAIT_MS / 1000)
        await end_cancelled(stage, [job_id])
        return
    job = claimed[0]
    try:
        ended = await work_off(
            stage, job, policies(stage.services.settings)[name], lambda it: ctx["handler"](it, lambda: None)
        )
    except asyncio.CancelledError:
        async with stage.services.database.quick() as db:
            await ledger.hand_back(db, [job])
        raise
    if ended is not None and ended.wait_ms is not None:
        raise Retry(defer=ended.wait_ms / 1000)
