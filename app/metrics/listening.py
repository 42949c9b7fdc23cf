"""A worker's own port: `/metrics`, answered from a thread, so that a stuck event loop can be seen from outside.

METRICS_PORT ─ taken? ─▶ the next one … the 32nd ─▶ listening: any number of workers on one machine share a setting
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server
from structlog import get_logger

from app.errors import SettingsError
from app.metrics.process import watching_the_loop
from app.metrics.registry import REGISTRY
from app.metrics.work import prepare

log = get_logger()

PORTS = 32
"""From METRICS_PORT on so many are tried."""


@asynccontextmanager
async def open_metrics(host: str, port: int | None, queue: str) -> AsyncIterator[int | None]:
    """Measure a worker of `queue` while the block lasts, and show it below `host`; gives the port, None without one.

    Raises:
        SettingsError: none of the ports can be listened on.
    """
    prepare((queue,))
    async with watching_the_loop():
        if port is None:
            yield None
            return
        server, thread, taken = await asyncio.to_thread(_listen, host, port)
        log.info("metrics", host=host, port=taken, queue=queue)
        try:
            yield taken
        finally:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join(timeout=2)


def _listen(host: str, first: int) -> tuple[WSGIServer, Thread, int]:
    for port in range(first, min(first + PORTS, 65_536)):
        try:
            server, thread = start_http_server(port, host, REGISTRY)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise SettingsError(
                f"METRICS_PORT: cannot listen on {host}:{port} ({error.strerror or error}): "
                "set METRICS_HOST to an address of this machine, METRICS_PORT to another, or leave it out"
            ) from None
        return server, thread, server.server_port
    raise SettingsError(
        f"METRICS_PORT: {host}:{first} and the {PORTS - 1} ports after it are taken: set it to the first of free ones"
    )
