"""`promidata-sync api`: the HTTP API under uvicorn, on uvloop and httptools.

listen ─▶ say the address ─▶ serve ─▶ SIGTERM or Ctrl-C: no new connections, open ones get most of the grace period
    ─▶ exit 0; a second signal does not wait
"""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import suppress
from types import FrameType

import uvicorn
from structlog import get_logger

from app.api.limited_http import LimitedHttp
from app.cli.descriptors import connection_limit, raise_open_files_limit
from app.cli.interrupts import interruptible
from app.cli.programs import BACKLOG, cannot_listen, http_address, listener
from app.cli.surroundings import find_settings
from app.cli.telling import Teller
from app.errors import DatabaseUnavailable
from app.main import create_app
from app.persistence.migrations import check_schema
from app.settings import Settings
from app.sync.services import open_services

log = get_logger()

SHARE_FOR_CONNECTIONS = 0.6
"""Of the grace period; the rest is for closing the parts, and what uvicorn waits between its steps."""
LOOK_WITHIN_S = 10.0
"""What the look at the schema may hold up the start."""


def run_api(descriptor: int | None = None) -> None:
    """Serve until stopped, on HOST and PORT, or on a listening socket that was inherited as `descriptor`.

    Raises:
        SettingsError: a setting makes no sense, DATABASE_URL is missing, or HOST is open to others without API_KEYS.
        SchemaTooNew: the schema is of a newer version.
        UpError: the port is taken.
    """
    settings = find_settings(serves=True)
    interruptible(_try_parts(settings))  # here it costs one line; when the server starts, a traceback
    app = create_app(settings)
    with _listen(settings) if descriptor is None else socket.socket(fileno=descriptor) as opened:
        _tell_address(
            f"{http_address(settings.host, opened.getsockname()[1])}{settings.root_path}", logged=descriptor is not None
        )
        # uvicorn raises the signal that ended it once more; ending when asked to is success.
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, _already_served)
        Server(_config(app, settings)).run(sockets=[opened])


def _tell_address(address: str, *, logged: bool) -> None:
    """For people and scripts; `logged` where who started it knows it, and what it says is a log."""
    if logged:
        log.info("API ready", address=address)
    else:
        Teller().say(f"API: {address}")


async def _try_parts(settings: Settings) -> None:
    """See that the settings open everything, and that this program is not older than the schema.

    A database that is away is no reason not to start.
    """
    async with open_services(settings, store_at_once=True) as services:
        with suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(LOOK_WITHIN_S):
                await check_schema(services.database)


def _config(app: object, settings: Settings) -> uvicorn.Config:
    connections = connection_limit(settings.api_max_connections, raise_open_files_limit())
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="uvloop",
        http=LimitedHttp,
        ws="none",
        limit_concurrency=connections,
        timeout_keep_alive=settings.keep_alive_s,
        backlog=BACKLOG,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the application does it, and the prefix with it (app.api.ingress)
        timeout_graceful_shutdown=max(1, int(settings.shutdown_grace_s * SHARE_FOR_CONNECTIONS)),
    )


class Server(uvicorn.Server):
    """A server that any second signal hurries, not only a second Ctrl-C."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal."""
        super().handle_exit(sig, frame)
        if len(self._captured_signals) > 1:
            self.force_exit = True


def _already_served(signum: int, frame: FrameType | None) -> None:
    del signum, frame


def _listen(settings: Settings) -> socket.socket:
    try:
        return listener(settings.host, settings.port)
    except OSError as error:
        raise cannot_listen(settings.host, settings.port, error, "set HOST or PORT to another") from error
