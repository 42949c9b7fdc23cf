"""The embedded servers of `up`: started where no address is set, started again on the same port when they die.

    DATABASE_URL set? ─▶ used as it is      not set ─▶ PostgreSQL in DATA_DIR
    REDIS_URL set?    ─▶ used as it is      not set ─▶ Valkey in DATA_DIR

The programs keep the address that they were given, hence the same port.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from app.cli.embedded import EmbeddedServer, EmbeddedServerError, start_postgres, start_valkey
from app.cli.supervisor import StopRequest, next_pause_s
from app.cli.telling import Teller
from app.cli.up_file import UpError
from app.settings import Settings

LOOK_EVERY_S = 0.25


class StartServer(Protocol):
    """`start_postgres` or `start_valkey`."""

    def __call__(self, data_dir: Path, *, say: Callable[[str], None], port: int = 0) -> EmbeddedServer:
        """Start it on 127.0.0.1; `port` 0 picks a free one."""
        ...


class EmbeddedServers:
    """The servers that this `up` started itself. Leave the context to stop them; call it in the main thread."""

    def __init__(self, data_dir: Path, teller: Teller) -> None:
        self._data_dir = data_dir
        self._teller = teller
        self._started: list[tuple[StartServer, EmbeddedServer]] = []

    def start_missing(self, settings: Settings) -> tuple[str, str]:
        """Return the addresses of the database and of Redis, after starting what has none.

        Raises:
            EmbeddedServerError: a server cannot be had; says why.
        """
        database, redis = settings.database_url, settings.redis_url
        return (
            self._start("PostgreSQL", start_postgres) if database is None else database.get_secret_value(),
            self._start("Valkey", start_valkey) if redis is None else redis.get_secret_value(),
        )

    def _start(self, name: str, start: StartServer) -> str:
        with self._teller.during(f"starting {name}"):
            server = start(self._data_dir, say=self._teller.say)
        self._started.append((start, server))
        return server.url

    async def watch(self, stop: StopRequest) -> None:
        """Until asked to stop: start again what dies, with a growing pause while it keeps dying.

        Raises:
            UpError: a server could not be started again.
        """
        pauses_s: dict[int, float] = {}
        began = dict.fromkeys(range(len(self._started)), time.monotonic())
        while not stop.asked.is_set():
            for number, (_, server) in enumerate(self._started):
                if not server.running:
                    pause_s = next_pause_s(pauses_s.get(number), time.monotonic() - began[number])
                    pauses_s[number] = pause_s
                    await self._again(number, pause_s, stop)
                    began[number] = time.monotonic()
            await _wait(LOOK_EVERY_S, stop)

    async def _again(self, number: int, pause_s: float, stop: StopRequest) -> None:
        start, server = self._started[number]
        log = server.home.path / "server.log"
        self._teller.say(
            f"{server.name} ended ({_ending(server)}): starting it again in {pause_s:g} s (its log: {log})"
        )
        server.stop()
        await _wait(pause_s, stop)
        if stop.asked.is_set():
            return
        try:
            again = start(self._data_dir, say=self._teller.say, port=server.port)
        except EmbeddedServerError as error:
            raise UpError(f"{server.name} ended and could not be started again: {error}") from error
        self._started[number] = (start, again)
        self._teller.say(f"{server.name} is back")

    def __enter__(self) -> EmbeddedServers:
        return self

    def __exit__(self, *_: object) -> None:
        for _start, server in reversed(self._started):
            server.stop()


def _ending(server: EmbeddedServer) -> str:
    code = server.process.returncode
    return f"signal {-code}" if code is not None and code < 0 else f"exit {code}"


async def _wait(seconds: float, stop: StopRequest) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.asked.wait()
