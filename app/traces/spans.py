"""What runs between a span's begin and its end: made for each piece of work, so as little as there can be.

The SDK's own span locks, copies and checks for callers that it does not know, which is 60 µs each; a picture has five.
These give the SDK the same thing when they end: its processor, exporter and sampler know no difference.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from functools import cache, lru_cache
from time import time_ns
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.traces import Attribute, Untraced

Value = str | int | float | bool
MOST_KEPT = 1_024
"""Of what was parsed: the jobs of a family, and all of a trace that is not sampled, come with the same."""
PREFIX = "promidata."
STANDARD = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "url": "server.address",
}
"""Attributes that OpenTelemetry's conventions name."""
_CARRIER = TraceContextTextMapPropagator()


class Unsampled(Untraced):
    """The work of a trace that is not sampled: nothing is kept, its `traceparent` is handed on."""

    __slots__ = ("context", "traceparent")

    def __init__(self, context: SpanContext) -> None:
        self.context = context
        self.traceparent = header_of(context)


class Recorded:
    """A span of a trace that is sampled, the current one of its block; `ended` gets it."""

    __slots__ = (
        "_ended",
        "_token",
        "attributes",
        "begun_ns",
        "context",
        "kind",
        "links",
        "name",
        "parent",
        "status",
    )

    def __init__(
        self,
        ended: Callable[[Recorded], None],
        name: str,
        context: SpanContext,
        *,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Mapping[str, Attribute],
        links: Sequence[SpanContext] = (),
    ) -> None:
        self._ended = ended
        self.name, self.context, self.parent, self.kind, self.links = name, context, parent, kind, links
        self.attributes = named(attributes)
        self.status = StatusCode.UNSET
        self.begun_ns = time_ns()

    @property
    def traceparent(self) -> str:
        """See Span."""
        return header_of(self.context)

    def rename(self, name: str) -> None:
        """See Span."""
        self.name = name

    def note(self, **attributes: Attribute) -> None:
        """See Span."""
        self.attributes |= named(attributes)

    def failed(self, error: BaseException | str) -> None:
        """See Span."""
        self.attributes["error.type"] = error if isinstance(error, str) else type(error).__name__
        self.status = StatusCode.ERROR

    def __enter__(self) -> Self:
        self._token = CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        CURRENT.reset(self._token)
        if error is not None:
            self.failed(error)
        self._ended(self)
        self.attributes = {}  # a thread exports the others meanwhile


CURRENT: ContextVar[Recorded | Unsampled | None] = ContextVar("span", default=None)
"""What goes on around."""


class HandedOn(Untraced):
    """The outermost work here of a trace that is not sampled. What is within it is `Unsampled`, all the same object."""

    __slots__ = ("_token", "_within", "traceparent")
    _token: Token[Recorded | Unsampled | None]

    def __init__(self, within: Unsampled) -> None:
        self._within = within
        self.traceparent = within.traceparent

    def __enter__(self) -> Self:
        self._token = CURRENT.set(self._within)
        return self

    def __exit__(self, *_: object) -> None:
        CURRENT.reset(self._token)


def header_of(context: SpanContext) -> str:
    """A context as a W3C header names it."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@lru_cache(maxsize=MOST_KEPT)
def parsed(traceparent: str) -> SpanContext | Unsampled | None:
    """The context that a `traceparent` names, in its `Unsampled` where it is that; None of an invalid one."""
    found = trace.get_current_span(_CARRIER.extract({"traceparent": traceparent}, Context())).get_span_context()
    if not found.is_valid:
        return None
    return found if found.trace_flags.sampled else Unsampled(found)


def child_of(parent: SpanContext) -> SpanContext:
    """The context of new work in the same trace."""
    return SpanContext(parent.trace_id, new_id(64), is_remote=False, trace_flags=parent.trace_flags)


def new_id(bits: int) -> int:
    """A valid id of so many bits, of a trace (128) or a span (64)."""
    while not (number := random.getrandbits(bits)):
        pass
    return number


def named(attributes: Mapping[str, Attribute]) -> dict[str, Value]:
    """Attributes under the names that they are exported by, those that are known."""
    known: dict[str, Value] = {}
    for name, value in attributes.items():
        told = _host(str(value)) if name == "url" else value
        if told is not None:
            known[_exported_as(name)] = told
    return known


@cache
def _exported_as(name: str) -> str:
    return STANDARD.get(name, f"{PREFIX}{name}")


def _host(url: str) -> str | None:
    """All that a span says of an address: the rest of the feed's is a credential."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
