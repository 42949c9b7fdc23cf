"""OpenTelemetry's SDK, which is imported only when a process begins to export.

    span ends (`spans.py`) ─▶ SDK's queue, in memory, bounded ─▶ a thread of the SDK's: protobuf (`encoding.py`),
                                                                 POST to …/v1/traces

A collector that is away, slow or refuses costs spans and a line a minute, never work: the queue drops what is too much.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import time_ns
from urllib.parse import unquote
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from app import VERSION
from app.outages import outages
from app.settings import Settings
from app.traces import UNTRACED, Attribute, Kind, Span
from app.traces.encoding import encode_spans
from app.traces.spans import CURRENT, PREFIX, HandedOn, Recorded, Unsampled, child_of, new_id, parsed

SAID_CHARS = 300
FLUSH_WITHIN_S = 2.0
"""What the last spans of a program may hold up its end."""
PART = "the collector of traces"
KINDS: Mapping[Kind, trace.SpanKind] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "consumer": trace.SpanKind.CONSUMER,
}
STATUS = {code: Status(code) for code in StatusCode}
RANDOM_TRACE_ID = 0x02
"""The flag of W3C's Trace Context 2 for an id whose bits are random."""
# it has no other door for this; without it spans are exported as well, for three times the CPU
trace_exporter.encode_spans = encode_spans  # type: ignore[attr-defined]


class Tracing:
    """The spans of one process. The SDK reads its other variables (OTEL_BSP_…, …_TIMEOUT, …_CERTIFICATE) itself."""

    def __init__(self, settings: Settings, program: str) -> None:
        """Prepare it; nothing connects yet.

        Raises:
            ValueError, OSError: a variable that the SDK reads makes no sense to it.
        """
        _hear_of_failures()
        exporter = trace_exporter.OTLPSpanExporter(
            endpoint=f"{settings.otel_exporter_otlp_endpoint}/v1/traces",
            headers=headers_of(settings),
        )
        self._sampler = TraceIdRatioBased(settings.otel_traces_sampler_arg)
        self._resource = Resource.create(
            {
                "service.name": settings.otel_service_name,
                "service.version": VERSION,
                "service.instance.id": uuid4().hex,
                "host.name": socket.gethostname(),
                f"{PREFIX}program": program,
            }
        )
        self._scope = InstrumentationScope("promidata-sync", VERSION)
        self._processor = BatchSpanProcessor(exporter)

    def span(
        self,
        name: str,
        parent: str | None,
        batch: Sequence[str | None],
        kind: Kind,
        attributes: Mapping[str, Attribute],
    ) -> Span:
        """See `app.traces.span`. Where its parent is not sampled, neither is it, and nothing is made."""
        if batch:
            links = [link for item in batch if item and isinstance(link := parsed(item), SpanContext)]
            return self._recorded(name, links[0], kind, attributes, links) if links else UNTRACED
        if parent is None:
            around = CURRENT.get()
            if isinstance(around, Unsampled):
                return around
            return self._below(None if around is None else around.context, name, kind, attributes)
        above = parsed(parent)
        return HandedOn(above) if isinstance(above, Unsampled) else self._below(above, name, kind, attributes)

    def _below(
        self, parent: SpanContext | None, name: str, kind: Kind, attributes: Mapping[str, Attribute]
    ) -> HandedOn | Recorded:
        """Work of a sampled trace, or of one that begins here."""
        if parent is not None:
            return self._recorded(name, parent, kind, attributes)
        root = self._root(name)
        if not root.trace_flags.sampled:
            return HandedOn(Unsampled(root))
        return Recorded(self._export, name, root, parent=None, kind=KINDS[kind], attributes=attributes)

    def _recorded(
        self,
        name: str,
        parent: SpanContext,
        kind: Kind,
        attributes: Mapping[str, Attribute],
        links: Sequence[SpanContext] = (),
    ) -> Recorded:
        context = child_of(parent)
        return Recorded(
            self._export, name, context, parent=parent, kind=KINDS[kind], attributes=attributes, links=links
        )

    def _root(self, name: str) -> SpanContext:
        """The context of a trace that begins here; whether it is sampled is decided now, for all of it."""
        trace_id = new_id(128)
        sampled = self._sampler.should_sample(None, trace_id, name).decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(RANDOM_TRACE_ID | (TraceFlags.SAMPLED if sampled else 0))
        return SpanContext(trace_id, new_id(64), is_remote=False, trace_flags=flags)

    def _export(self, span: Recorded) -> None:
        """Give it to the SDK, which exports it when there are enough of them, or it is time."""
        self._processor.on_end(
            ReadableSpan(
                name=span.name,
                context=span.context,
                parent=span.parent,
                resource=self._resource,
                attributes=span.attributes,
                links=[trace.Link(link) for link in span.links],
                kind=span.kind,
                status=STATUS[span.status],
                start_time=span.begun_ns,
                end_time=time_ns(),
                instrumentation_scope=self._scope,
            )
        )

    def trace_id(self) -> str | None:
        """See `app.traces.trace_id`."""
        around = CURRENT.get()
        return None if around is None else trace.format_trace_id(around.context.trace_id)

    async def close(self) -> None:
        """Export what is left, within two seconds; in a thread that nobody waits for any longer."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_WITHIN_S):
                await done.wait()
        except TimeoutError:
            outages.noted(TimeoutError(f"not taken within {FLUSH_WITHIN_S:g} s"), "the last spans are lost", PART)


def disabled() -> bool:
    """Whether OTEL_SDK_DISABLED says so, which the SDK itself asks for in parts that are not used here."""
    return os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"


def headers_of(settings: Settings) -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS as headers; names and values are URL-encoded there."""
    given = settings.otel_exporter_otlp_headers
    pairs = (part.partition("=") for part in ("" if given is None else given.get_secret_value()).split(",") if part)
    return {unquote(name).strip().lower(): unquote(value).strip() for name, _, value in pairs}


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
