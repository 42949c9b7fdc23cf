"""Starting a worker process of one queue: settings, services, a look at the database's schema, then work.

settings ─▶ services ─▶ PostgreSQL and its schema ─▶ Redis ─▶ work
│ away: waited for            │ away: the worker itself waits for it
└ not as we need it: the end  └ not ours to use: the end
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import uvloop
from structlog import get_logger

from app import traces
from app.errors import DatabaseMisfit, DatabaseUnavailable, QueueUnavailable, SchemaTooNew, SettingsError
from app.failpoints import arm
from app.images.opening import refuse_wrong_folder
from app.jobs.definitions import IMAGE_UPLOAD, STAGE_OF, QueueName, policies
from app.jobs.queue import RedisQueue
from app.logs import configure_logs
from app.metrics.listening import open_metrics
from app.outages import end_if_cancelled, outages
from app.persistence.database import STAGE_WAIT_S, Database
from app.persistence.migrations import wait_for_schema
from app.settings import Settings, load_settings
from app.sync.installation import learn, take_hold
from app.sync.services import Services, open_services
from app.sync.stage.tasks import end_all
from workers.priority import give_way
from workers.pulse import open_pulse
from workers.runtime import Worker

log = get_logger()

AGAIN_S = 1.0
"""Between two looks for a PostgreSQL that is away, in seconds."""


def main(name: QueueName, settings: Settings | None = None) -> int:
    """Run a worker until it is asked to stop; returns the exit code. `settings` None are the environment's."""
    try:
        settings = settings or load_settings()
        configure_logs(settings.log_level)
        arm(settings.failpoint)
        give_way(settings.workers_nice)
        gc.freeze()  # imports are never garbage: looking them through was a seventh of what reading documents costs
        uvloop.run(work(settings, name))
    except (SettingsError, SchemaTooNew, DatabaseUnavailable, QueueUnavailable) as error:
        sys.stderr.write(f"promidata-sync worker: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def freeze() -> None:
    """What is there before the first job stays: clients, with their descriptions of services, as well as imports.

    What is garbage already goes first, or it would stay, too.
    """
    gc.collect()
    gc.freeze()


async def work(settings: Settings, name: QueueName) -> None:
    """Run a worker of queue `name` in this event loop; what is away at its start is waited for.

    Raises:
        SettingsError: REDIS_URL or DATABASE_URL is missing, the probe's file or DATA_DIR cannot be written, or Redis is
            not ours to use.
        DatabaseMisfit: PostgreSQL does not let us in, or the schema is not there and did not come within a minute.
        SchemaTooNew: the schema is of a newer version.
    """
    if settings.redis_url is None:
        raise SettingsError("REDIS_URL is not set: a worker takes its jobs from Redis")
    async with (
        open_pulse(settings.worker_probe_file, name) as pulse,
        open_metrics(settings.metrics_host, settings.metrics_port, name),
        traces.exporting(settings, f"worker {STAGE_OF[name]}"),
        open_services(settings, wait_s=STAGE_WAIT_S, store_at_once=name == IMAGE_UPLOAD) as services,
    ):
        if services.queue is None:
            raise SettingsError("REDIS_URL is not set: a worker takes its jobs from Redis")
        if not await came_through(get_ready(settings, services, services.queue, name)):
            log.info("worker stopped", queue=name)
            return
        redis_url = settings.redis_url.get_secret_value()
        worker = Worker(services, services.queue, redis_url, name, policies(settings)[name])
        if pulse is not None:
            pulse.watch(worker.complaint)
        freeze()
        await worker.run()


async def came_through(preparing: Coroutine[Any, Any, None]) -> bool:
    """Prepare; whether that was done before SIGTERM or SIGINT came, which the worker takes over from here.

    Raises:
        Exception: what the preparing ended with.
    """
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    task = asyncio.create_task(preparing)

    def stop() -> None:
        asked.set()
        task.cancel()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop)
    try:
        await asyncio.wait([task])
    finally:
        await end_all([task])
    if not asked.is_set():
        task.result()
    return not asked.is_set()


async def get_ready(settings: Settings, services: Services, queue: RedisQueue, name: QueueName) -> None:
    """See that a worker of queue `name` can work here, or wait until it can.

    Raises:
        SettingsError, DatabaseMisfit, SchemaTooNew: as with `work`.
    """
    if name == IMAGE_UPLOAD:
        await refuse_wrong_folder(settings, services.store)
    await wait_for_database(services.database, queue)
    await try_redis(queue)


async def wait_for_database(database: Database, queue: RedisQueue) -> None:
    """Wait until PostgreSQL is there, with the schema that this program works on, and learn which database it is.

    Raises:
        DatabaseMisfit: it does not let us in, or the schema did not come within a minute; says what to do.
        SchemaTooNew: the schema is of a newer version.
    """
    while True:
        try:
            await wait_for_schema(database)
            await learn(database, queue)
        except DatabaseMisfit:
            raise
        except DatabaseUnavailable as error:
            end_if_cancelled(error)
            outages.met("start", error)
            await asyncio.sleep(AGAIN_S)
        else:
            outages.over("start")
            return


async def try_redis(queue: RedisQueue) -> None:
    """See that Redis lets us do what we need, and is ours; one that is away is waited for by the worker itself.

    Raises:
        SettingsError: a key or a command may not be used, or another installation uses the keys; says what to do.
    """
    try:
        await queue.try_once()
        await take_hold(queue)
    except QueueUnavailable as error:
        log.warning("Redis is away; waiting for it", error=str(error))
