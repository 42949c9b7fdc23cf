"""Figures for Prometheus: requests by route, and the jobs of each queue by state."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import GuardedRoute, Viewer
from app.api.middleware import HttpMiddleware
from app.api.problems import problem_answers
from app.errors import DatabaseUnavailable
from app.jobs.definitions import QUEUES
from app.persistence import job_lists
from app.persistence.database import Database

router = APIRouter(tags=["service"], route_class=GuardedRoute)


class Figures:
    """One process's figures, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "promidata_http_request_seconds",
            "Requests by route.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.jobs = Gauge("promidata_jobs", "Jobs by queue and state.", ["queue", "state"], registry=self.registry)
        self.paused = Gauge("promidata_queue_paused", "1 for a paused queue.", ["queue"], registry=self.registry)
        self.database_up = Gauge("promidata_database_up", "1 while the database answers.", registry=self.registry)

    async def read_queues(self, database: Database) -> None:
        """Take the queues' numbers; without the database the last ones stay."""
        try:
            async with database.quick() as db:
                numbers = await job_lists.count_jobs(db, QUEUES)
        except DatabaseUnavailable:
            self.database_up.set(0)
            return
        self.database_up.set(1)
        for name, found in numbers.items():
            self.paused.labels(name).set(found.paused)
            for state in ("waiting", "active", "delayed", "completed", "failed", "cancelled"):
                self.jobs.labels(name, state).set(found.states.get(state, 0))


class Timing(HttpMiddleware):
    """ASGI middleware that times requests by route."""

    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        super().__init__(app)
        self._figures = figures

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See HttpMiddleware."""
        begun, status = time.perf_counter(), "500"

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            # the route's template, or one word for all that is unknown: a label must not grow with what is asked
            route = getattr(scope.get("route"), "path", "unknown")
            seconds = time.perf_counter() - begun
            self._figures.requests.labels(scope["method"], route, status).observe(seconds)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"example": "promidata_database_up 1.0"}}}, **problem_answers()},
)
async def get_metrics(request: Request, _: Viewer) -> Response:
    """In Prometheus's text format."""
    figures: Figures = request.app.state.figures
    await figures.read_queues(request.app.state.services.database)
    return Response(generate_latest(figures.registry), media_type=CONTENT_TYPE_LATEST)
