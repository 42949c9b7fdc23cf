"""Figures for Prometheus: requests by route, the service as a whole (service_gauges.py), this process (app/metrics).

Workers show theirs on ports of their own; docs/decisions/0024 says why.
"""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import GuardedRoute, Viewer
from app.api.middleware import HttpMiddleware
from app.api.problems import problem_answers
from app.api.service_gauges import ServiceGauges
from app.metrics.registry import REGISTRY

router = APIRouter(tags=["service"], route_class=GuardedRoute)


class Figures:
    """What this process's API measures, in a registry of its own, beside the process's (app/metrics)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "promidata_http_request_seconds",
            "Requests by route.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.service = ServiceGauges(self.registry)

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self.registry) + generate_latest(REGISTRY)


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
    await figures.service.read(request.app.state.services, request.app.state.readiness)
    return Response(figures.text(), media_type=CONTENT_TYPE_LATEST)
