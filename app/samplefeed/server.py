"""Serves a sample feed over HTTP on a real socket.

request -> latency -> what stands at the path -> a fault, if one fits -> delivered, and noted in the log
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import web

from app.samplefeed.answers import NOT_FOUND, Answer, answer, kind_of
from app.samplefeed.control import CONTROL_PATH, Control
from app.samplefeed.delivery import Habits, deliver, deliver_broken
from app.samplefeed.faults import Fault, FaultTable
from app.samplefeed.feed import SampleFeed
from app.samplefeed.request_log import RequestLog

SHUTDOWN_TIMEOUT_S = 0.1
BACKLOG = 1024


class SampleFeedServer:
    """A feed at a free port (or the given one) while the context is open.

    `async with SampleFeedServer(SampleFeed(FeedSpec.small())) as server: server.base_url`

    With `pictures_port` the pictures have an origin of their own, as at Promidata (0: any free port). `origin` is what
    manifest and documents name where the server is reached under another name than it listens on.
    """

    def __init__(
        self,
        feed: SampleFeed | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        pictures_port: int | None = None,
        origin: str | None = None,
        latency_s: float = 0.0,
    ) -> None:
        self.feed = feed or SampleFeed()
        self.faults = FaultTable()
        self.log = RequestLog()
        self.habits = Habits(latency_s=latency_s)
        self._host = host
        self._port = port
        self._pictures_port = pictures_port
        self._origin = origin
        self._control = Control(self.feed, self.faults, self.log, self.habits)
        self._runner: web.ServerRunner | None = None

    @property
    def base_url(self) -> str:
        """What PROMIDATA_BASE_URL is to be set to."""
        return self.feed.base_url

    @property
    def origin(self) -> str:
        """Scheme, host and port of the documents; the control endpoints are there, too."""
        return self.feed.origin

    async def start(self) -> None:
        """Listen, and tell the feed where. OSError when the port is taken."""
        runner = self._runner = web.ServerRunner(
            web.Server(self._handle, access_log=None), shutdown_timeout=SHUTDOWN_TIMEOUT_S
        )
        await runner.setup()
        self._port = await self._listen(runner, self._port)
        origin = self._origin or f"http://{self._host}:{self._port}"
        pictures_origin = origin
        if self._pictures_port is not None:
            self._pictures_port = await self._listen(runner, self._pictures_port)
            pictures_origin = f"http://{self._host}:{self._pictures_port}"
        self.feed.serve_at(origin, pictures_origin)

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _listen(self, runner: web.ServerRunner, port: int) -> int:
        await web.TCPSite(runner, self._host, port, backlog=BACKLOG).start()
        return int(runner.addresses[-1][1])

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if path.startswith(CONTROL_PATH):
            return await self._control.handle(request)
        kind = kind_of(self.feed, path)
        with self.log.noting(request.method, path, kind) as noted:
            if self.habits.latency_s:
                await asyncio.sleep(self.habits.latency_s)
            found = answer(self.feed, kind, path) if request.method in ("GET", "HEAD") else NOT_FOUND
            fault = self.faults.take(path, kind)
            response = await self._deliver(request, found, fault, path)
            noted.status = response.status
        return response

    async def _deliver(
        self, request: web.BaseRequest, found: Answer, fault: Fault | None, path: str
    ) -> web.StreamResponse:
        if fault is None:
            return await deliver(request, found, self.habits)
        entry = self.feed.entry_at(path.removeprefix(f"{self.feed.base_path}/"))
        stale = self.feed.stale_bytes(entry) if entry is not None and fault.action == "stale" else b""
        return await deliver_broken(request, found, self.habits, fault, stale)
