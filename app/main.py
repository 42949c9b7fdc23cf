"""The HTTP composition root: `create_app(settings)`, and `app.main:app` for uvicorn.

`app` is built on first access, so that importing this module reads nothing of the environment.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app import VERSION, traces
from app.api import (
    audit,
    changes,
    docs,
    events,
    feed,
    health,
    jobs,
    kept_bodies,
    media,
    metrics,
    products,
    runs,
    suppliers,
    sync,
    variants,
    webhooks,
    workers,
)
from app.api.access_log import AccessLog
from app.api.answer_headers import AnswerHeaders
from app.api.answer_in_time import AnswerInTime
from app.api.body_limit import BodyLimit
from app.api.compression import Compression
from app.api.cross_origin import for_origins
from app.api.examples import complete_examples
from app.api.head import HeadAsGet
from app.api.health import Readiness
from app.api.ingress import Ingress
from app.api.kept_bodies import KeptBodies
from app.api.live_events import LiveEvents
from app.api.local_door import LocalDoor, refusal_answer
from app.api.metrics import Figures, Timing
from app.api.pacing import Pacing
from app.api.path_segments import PathSegments
from app.api.problems import Problem, add_handlers
from app.api.request_traces import RequestTraces
from app.api.validators import describe_etags
from app.dashboard.entering import nothing_here
from app.dashboard.pages import PAGES
from app.errors import QueueUnavailable
from app.jobs.definitions import QUEUES
from app.metrics.process import watching_the_loop
from app.metrics.work import prepare
from app.setting_errors import ending_in_one_line, starting_in_one_line
from app.settings import Settings, load_settings
from app.sync.installation import keep
from app.sync.services import open_services
from app.sync.upkeep.chores import do_chores_without_queue

CALLED = (sync, jobs, workers, events, runs, suppliers, feed, products, variants, changes, webhooks, audit)
ROUTERS = (*CALLED, health, metrics, media, docs, *PAGES)
ASKED_MOST = (products, jobs, sync, health)
"""Looked at first: the framework tries a request on one route after the other, a tenth of a millisecond for all. No
two of these modules have a path that both would take."""
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""Of FastAPI's own: it would export queries and the words of errors, which may hold what is secret."""
DESCRIPTION = "Keeps a PostgreSQL catalogue and an S3/R2 picture store true to a Promidata feed."


class Api(FastAPI):
    """FastAPI whose description holds the problem document that every operation may answer with."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start, answer a request, end."""
        await super().__call__(scope, receive, starting_in_one_line(send) if scope["type"] == "lifespan" else send)

    def build_middleware_stack(self) -> ASGIApp:
        """The application behind what also the answer to an unforeseen error goes through."""
        settings: Settings = self.state.settings
        answering: ASGIApp = AnswerHeaders(for_origins(super().build_middleware_stack(), settings.cors_origins))
        return Ingress(
            RequestTraces(AccessLog(answering) if settings.access_log else answering),
            root_path=settings.root_path,
            proxies=settings.forwarded_allow_ips,
            own=self.state.own_segments,
        )

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, in the words of OpenAPI 3.1 alone; made once."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        schema = super().openapi()
        schema["paths"] = {path: schema["paths"][path] for path in _paths() if path in schema["paths"]}
        shapes = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["components"]["schemas"] |= {**shapes.pop("$defs", {}), "Problem": shapes}
        streams = schema["paths"]["/api/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
        # 3.1 has no word for a stream's items; `itemSchema` is of 3.2
        streams.pop("itemSchema", None)
        streams["schema"] = {"type": "string"}
        complete_examples(schema)
        describe_etags(schema["paths"])
        return schema


def create_app(settings: Settings | None = None) -> FastAPI:
    """The HTTP application; its parts are opened when it starts and closed when it ends.

    Without settings it takes those of the environment, as `uvicorn --factory app.main:create_app` calls it; what is
    wrong with them then ends the process with one line.

    Raises:
        SettingsError: HOST can be reached by others and no key is configured.
    """
    if settings is None:
        with ending_in_one_line():
            return create_app(load_settings())
    settings.refuse_open_door(settings.host)
    figures = Figures()
    app = Api(
        title="promidata-sync",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan(settings),
        middleware=_middleware(settings, figures),
        responses=refusal_answer(),
        redirect_slashes=False,
        openapi_url=None,  # ours, as `/docs`: it names a parameter that it does not know
        docs_url=None,
        redoc_url=None,
        telemetry=NO_TELEMETRY,
    )
    app.state.settings = settings
    app.state.figures = figures
    app.state.bodies = KeptBodies(kept_bodies.MOST_BYTES)
    add_handlers(app)
    app.add_exception_handler(404, nothing_here)
    for module in sorted(ROUTERS, key=lambda module: module not in ASKED_MOST):
        app.include_router(module.router)
    app.state.routes = _routes()
    app.state.own_segments = {path.split("/")[1] for path in _paths()}
    return app


def _paths() -> list[str]:
    """As the description has them, in its order."""
    return [route.path_format for route in _routes()]


def _routes() -> list[Route]:
    return [route for module in ROUTERS for route in module.router.routes if isinstance(route, Route)]


def _middleware(settings: Settings, figures: Figures) -> list[Middleware]:
    doors = [] if settings.api_keys else [Middleware(LocalDoor)]
    return [
        Middleware(Timing, figures=figures),
        Middleware(HeadAsGet),
        Middleware(Compression),
        Middleware(AnswerInTime),
        *doors,
        Middleware(BodyLimit),
        Middleware(PathSegments),
    ]


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            watching_the_loop(),
            traces.exporting(settings, "api"),
            open_services(settings, pre_ping=True, store_at_once=True) as services,
        ):
            prepare(QUEUES)
            app.state.services = services
            app.state.readiness = Readiness(services)
            app.state.verbs = set()
            app.state.live = LiveEvents(services.database, settings)
            app.state.pacing = Pacing(services.database)
            if services.queue is None:
                app.state.verbs.add(asyncio.create_task(do_chores_without_queue(services)))
            else:
                app.state.verbs.add(asyncio.create_task(keep(services.database, services.queue)))
            try:
                with told_of_the_end(app.state.live.close):
                    yield
            finally:
                await app.state.live.stop()
                await app.state.pacing.close()
                await _end(app.state.verbs)
                if services.queue is not None:
                    with suppress(QueueUnavailable):
                        await services.queue.let_go()

    return lifespan


@contextmanager
def told_of_the_end(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` as soon as the server is asked to end: it waits for open streams before it says so to anybody."""
    loop = asyncio.get_running_loop()
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def handle(signum: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)
        before[signum](signum, frame)

    for name in (signal.SIGTERM, signal.SIGINT):
        present = signal.getsignal(name)
        if callable(present) and threading.current_thread() is threading.main_thread():
            before[name] = present
            signal.signal(name, handle)
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)


async def _end(verbs: set[asyncio.Task[Any]]) -> None:
    """Stop what still runs for callers that have gone; a direct sync ends its runs."""
    for task in list(verbs):
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


def __getattr__(name: str) -> FastAPI:
    if name == "app":
        globals()["app"] = app = create_app()
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
