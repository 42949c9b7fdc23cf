"""A collector of traces: OTLP over HTTP, as a real server that reads what OpenTelemetry's exporters send."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.receiver import free_port


@dataclass(frozen=True)
class SpanRead:
    """A span as it arrived; ids are in hex, as `traceparent` has them."""

    name: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    attributes: dict[str, Any]
    program: str
    failed: bool

    def __getitem__(self, name: str) -> Any:
        """An attribute of ours."""
        return self.attributes.get(f"promidata.{name}")


@dataclass
class Collector:
    """What arrived."""

    port: int
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    spans: list[SpanRead] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def named(self, name: str, trace: str | None = None) -> list[SpanRead]:
        return [span for span in self.spans if span.name == name and trace in (None, span.trace)]

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        body = gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.spans += _read(body)
        return web.Response(content_type="application/x-protobuf")


def _read(body: bytes) -> list[SpanRead]:
    return [
        SpanRead(
            name=span.name,
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            links=tuple(link.span_id.hex() for link in span.links),
            attributes=_attributes(span.attributes),
            program=_attributes(resource.resource.attributes)["promidata.program"],
            failed=span.status.code == 2,
        )
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector that listens."""
    collector = Collector(free_port())
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", collector.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", collector.port).start()
        yield collector
    finally:
        await runner.cleanup()
