"""OpenTelemetry's SDK: the only module that imports it, and only when a process begins to export.

    span ends ─▶ SDK's queue, in memory, bounded ─▶ a thread of the SDK's: protobuf, POST to …/v1/traces

A collector that is away, slow or refuses costs spans and a line a minute, never work: the queue drops what is too much.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import VERSION
from app.outages import outages
from app.settings import Settings
from app.traces import UNTRACED, Attribute, Kind, Span

SAID_CHARS = 300
FLUSH_WITHIN_S = 2.0
"""What the last spans of a program may hold up its end."""
PREFIX = "promidata."
STANDARD = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "url": "server.address",
}
"""Attributes that OpenTelemetry's conventions name."""
PART = "the collector of traces"
KINDS: Mapping[Kind, trace.SpanKind] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "consumer": trace.SpanKind.CONSUMER,
}
_CARRIER = TraceContextTextMapPropagator()


class Tracing:
    """The spans of one process. The SDK reads its other variables (OTEL_BSP_…, …_TIMEOUT, …_CERTIFICATE) itself."""

    def __init__(self, settings: Settings, program: str) -> None:
        """Prepare it; nothing connects yet.

        Raises:
            ValueError, OSError: a variable that the SDK reads makes no sense to it.
        """
        _hear_of_failures()
        exporter = OTLPSpanExporter(
            endpoint=f"{settings.otel_exporter_otlp_endpoint}/v1/traces",
            headers=headers_of(settings),
        )
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(settings.otel_traces_sampler_arg),
            resource=Resource.create(
                {
                    "service.name": settings.otel_service_name,
                    "service.version": VERSION,
                    "service.instance.id": uuid4().hex,
                    "host.name": socket.gethostname(),
                    f"{PREFIX}program": program,
                }
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("promidata-sync", VERSION)

    def span(
        self,
        name: str,
        parent: str | None,
        batch: Sequence[str | None],
        kind: Kind,
        attributes: Mapping[str, Attribute],
    ) -> Span:
        """See `app.traces.span`. Where its parent is not sampled, neither is it, and nothing is made."""
        links = [ctx for item in batch if item is not None and (ctx := _parsed(item)).trace_flags.sampled]
        if links:
            around = links[0]
        elif batch:
            return UNTRACED
        else:
            around = trace.get_current_span().get_span_context() if parent is None else _parsed(parent)
        context = trace.set_span_in_context(trace.NonRecordingSpan(around), Context())
        if around.is_valid and not around.trace_flags.sampled:
            return _Traced(trace.NonRecordingSpan(around))
        begun = self._tracer.start_span(
            name,
            context,
            KINDS[kind],
            _named(attributes),
            [trace.Link(link) for link in links],
            record_exception=False,
            set_status_on_exception=False,
        )
        return _Traced(begun)

    def trace_id(self) -> str | None:
        """See `app.traces.trace_id`."""
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else None

    async def close(self) -> None:
        """Export what is left, within two seconds; in a thread that nobody waits for any longer."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_WITHIN_S):
                await done.wait()
        except TimeoutError:
            outages.noted(TimeoutError(f"not taken within {FLUSH_WITHIN_S:g} s"), "the last spans are lost", PART)


class _Traced:
    """A span of the SDK as the current one of its block, or one that is not sampled and only handed on."""

    __slots__ = ("_span", "_token")

    def __init__(self, begun: trace.Span) -> None:
        self._span = begun

    @property
    def traceparent(self) -> str | None:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, **attributes: Attribute) -> None:
        if self._span.is_recording():
            self._span.set_attributes(_named(attributes))

    def failed(self, error: BaseException | str) -> None:
        self._span.set_attribute("error.type", error if isinstance(error, str) else type(error).__name__)
        self._span.set_status(trace.StatusCode.ERROR)

    def __enter__(self) -> Self:
        self._token = otel.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        otel.detach(self._token)
        if error is not None:
            self.failed(error)
        self._span.end()


def headers_of(settings: Settings) -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS as headers; names and values are URL-encoded there."""
    given = settings.otel_exporter_otlp_headers
    pairs = (part.partition("=") for part in ("" if given is None else given.get_secret_value()).split(",") if part)
    return {unquote(name).strip().lower(): unquote(value).strip() for name, _, value in pairs}


def _parsed(traceparent: str) -> trace.SpanContext:
    """The context that a `traceparent` names; an invalid one names none, and begins a trace of its own."""
    return trace.get_current_span(_CARRIER.extract({"traceparent": traceparent}, Context())).get_span_context()


def _named(attributes: Mapping[str, Attribute]) -> dict[str, str | int | float | bool]:
    """Attributes under the names that they are exported by, those that are known."""
    named = {
        STANDARD.get(name, f"{PREFIX}{name}"): _host(str(value)) if name == "url" else value
        for name, value in attributes.items()
    }
    return {name: value for name, value in named.items() if value is not None}


def _host(url: str) -> str | None:
    """All that a span says of an address: the rest of the feed's is a credential."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _hear_of_failures() -> None:
    """Tell what the exporter and the SDK complain of once a minute; they would do it at every batch, to stderr."""
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    if not any(isinstance(handler, _Teller) for handler in logger.handlers):
        logger.addHandler(_Teller(logging.WARNING))


class _Teller(logging.Handler):
    """Passes on what is lost, and why. What parses our variables quotes them, headers among them: that is dropped."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("opentelemetry.exporter", "opentelemetry.sdk")):
            outages.noted(RuntimeError(record.getMessage()[:SAID_CHARS]), "traces may be lost", PART)
