"""`promidata-sync up`: everything on one machine, with what is not set up started by itself.

    lock DATA_DIR ─▶ embedded servers ─▶ migrate ─▶ feed, API, workers (supervised) ─▶ ready ─▶ up.json
        ─▶ discover, first sync, summary ─▶ addresses ─▶ serve until Ctrl-C, SIGTERM or
        a closed terminal ─▶ stop all, in order

The programs are stopped first and the servers last, so that jobs can be handed back.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr

from app.cli.cores import available_cores, worker_counts
from app.cli.first_sync import begin_with
from app.cli.interrupts import interruptible
from app.cli.programs import Feed, add_programs, environment, find_feed, http_address, listen_for_api, worker_programs
from app.cli.readiness import wait_until_ready
from app.cli.servers import EmbeddedServers
from app.cli.supervisor import StopRequest, Supervisor
from app.cli.telling import Teller, complain
from app.cli.up_file import announced, only_one
from app.errors import PromidataSyncError, QueueUnavailable
from app.jobs.definitions import StageName
from app.logs import configure_logs, mask_address
from app.persistence.migrations import migrate
from app.settings import Settings, load_settings
from app.sync.services import Services, open_services
from app.sync.stage.tasks import together


def run_up(*, port: int | None, sync_all: bool) -> None:
    """Bring everything up and serve until stopped. `port` None is PORT's.

    Raises:
        SettingsError: a setting makes no sense.
        UpError, EmbeddedServerError: it cannot start, or a part could not be kept alive.
        OutageError: a database or Redis of the user's own does not answer.
    """
    began = time.monotonic()
    settings = load_settings()
    settings.refuse_open_door(settings.host)
    settings = settings.model_copy(update={"data_dir": settings.data_dir.resolve()})
    with only_one(settings.data_dir), listen_for_api(settings, port) as door:
        configure_logs(settings.log_level)
        interruptible(Up(settings, Teller(), began, sync_all=sync_all).run(door))


class Up:
    """One `up`, from its start to its end."""

    def __init__(self, settings: Settings, teller: Teller, began: float, *, sync_all: bool) -> None:
        self._settings = settings
        self._teller = teller
        self._began = began
        self._sync_all = sync_all
        self._stop = StopRequest()

    async def run(self, door: socket.socket) -> None:
        """Do what the module says, with the API behind `door`."""
        self._stop.listen()
        with EmbeddedServers(self._settings.data_dir, self._teller) as servers:
            database_url, redis_url = servers.start_missing(self._settings)
            feed = find_feed(self._settings)
            given = environment(
                self._settings, port=door.getsockname()[1], database_url=database_url, redis_url=redis_url, feed=feed
            )
            async with open_services(inside(self._settings, given)) as services:
                with self._teller.during("bringing the schema up to date"):
                    await migrate(services.database)
                await self._serve(services, servers, feed, given, door)
        self._teller.say("stopped")

    async def _serve(
        self, services: Services, servers: EmbeddedServers, feed: Feed, given: Mapping[str, str], door: socket.socket
    ) -> None:
        supervisor = Supervisor(say=self._say_ended, grace_s=self._settings.shutdown_grace_s)
        workers = worker_programs(worker_counts(self._settings, available_cores()))
        logs = add_programs(supervisor, given, feed, door, workers)
        async with together() as group:
            begin = group.create_task(self._begin(services, supervisor, feed, given, workers=workers, logs=logs))
            group.create_task(servers.watch(self._stop))
            group.create_task(supervisor.run_until(self._stop))
            await self._stop.asked.wait()
            begin.cancel()
            self._teller.say("stopping (again for at once)")

    async def _begin(
        self,
        services: Services,
        supervisor: Supervisor,
        feed: Feed,
        given: Mapping[str, str],
        *,
        workers: Mapping[str, StageName],
        logs: Path,
    ) -> None:
        """From the programs' start until we are stopped."""
        api_url = http_address(given["HOST"], given["PORT"])
        if services.queue is None:
            raise QueueUnavailable("Redis has no address")
        with self._teller.during(f"starting API and workers ({_counted(workers.values())})"):
            await wait_until_ready(
                api_url, services.queue, feed, workers=workers, pids=lambda: supervisor.pids, logs=logs
            )
        with announced(api_url, dict(given), self._settings.data_dir):
            self._teller.say(f"ready in {time.monotonic() - self._began:.1f} s; logs in {logs}")
            await self._first_sync(services, feed)
            self._say_addresses(api_url, feed)
            await self._stop.asked.wait()

    async def _first_sync(self, services: Services, feed: Feed) -> None:
        """A feed that cannot be read is no reason not to serve."""
        if not self._settings.demo:
            return
        try:
            await begin_with(services, feed, self._teller, sync_all=self._sync_all)
        except PromidataSyncError as error:
            complain(f"the first sync did not come about: {error}")

    def _say_ended(self, line: str) -> None:
        self._teller.say(f"{line} (its log is in {self._settings.data_dir / 'logs'})")

    def _say_addresses(self, api_url: str, feed: Feed) -> None:
        what = "sample feed" if feed.port is not None else "feed"
        shown = feed.base_url if feed.port is not None else mask_address(feed.base_url)
        self._teller.say(f"\n    {what:<13}{shown}")
        api_url += self._settings.root_path
        self._teller.say(f"    API          {api_url}/api/v1/")
        self._teller.say(f"    API docs     {api_url}/docs")
        self._teller.say(f"    dashboard    {api_url}/\n")
        self._teller.say("serving; Ctrl-C stops everything")


def _counted(kinds: Iterable[StageName]) -> str:
    """How many of each.

    >>> _counted(["supplier", "family", "image", "image"])
    '1 supplier, 1 family, 2 image'
    """
    return ", ".join(f"{count} {kind}" for kind, count in Counter(kinds).items())


def inside(settings: Settings, given: Mapping[str, str]) -> Settings:
    """The settings as the programs will see them."""
    private = given["ALLOW_PRIVATE_ADDRESSES"].split(",")
    update = {
        "database_url": SecretStr(given["DATABASE_URL"]),
        "redis_url": SecretStr(given["REDIS_URL"]),
        "promidata_base_url": SecretStr(given["PROMIDATA_BASE_URL"]),
        "allow_private_addresses": tuple(ipaddress.ip_network(network) for network in private if network),
    }
    return settings.model_copy(update=update)
