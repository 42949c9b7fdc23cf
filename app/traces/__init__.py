"""Spans of OpenTelemetry at the places where work begins and ends; nothing at all where no endpoint is set.

    `exporting(settings)` around a program ─▶ `span(...)` around its work, `spans.py` ─▶ `exporter.py`: OTLP over HTTP

Without OTEL_EXPORTER_OTLP_ENDPOINT nothing of OpenTelemetry is imported from here and a span is one object that does
nothing. What carries a trace from process to process is a W3C `traceparent`: in a request's header, then in the ledger
with each job. Spans hold no addresses beyond a host, no headers and no words of errors: what is secret has no way in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from structlog import get_logger

from app.settings import Settings

if TYPE_CHECKING:
    from app.traces.exporter import Tracing

__all__ = ["UNTRACED", "Attribute", "Kind", "Span", "Untraced", "exporting", "span", "trace_id"]

log = get_logger()

Kind = Literal["internal", "server", "client", "consumer"]
Attribute = str | int | float | bool | None

_tracing: Tracing | None = None
"""This process's, while it exports."""


class Span(Protocol):
    """A piece of work under way; its `traceparent` is what work that follows from it hangs on, None for nothing."""

    @property
    def traceparent(self) -> str | None:
        """The span as a W3C header names it."""

    def rename(self, name: str) -> None:
        """Name it, where that is known only now."""

    def note(self, **attributes: Attribute) -> None:
        """What is known of it by now; `None` is left out, and of a `url` all but its host."""

    def failed(self, error: BaseException | str) -> None:
        """What ended it, an error or a word for one; the kind of error alone is kept, its words are the ledger's."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Untraced:
    """The span where nothing is traced."""

    __slots__ = ()
    traceparent: str | None = None

    def rename(self, name: str) -> None:
        """Nothing."""

    def note(self, **attributes: Attribute) -> None:
        """Nothing."""

    def failed(self, error: BaseException | str) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


UNTRACED: Span = Untraced()
"""What is not recorded, and carries nothing on."""


def span(
    name: str,
    *,
    parent: str | None = None,
    batch: Sequence[str | None] = (),
    kind: Kind = "internal",
    **attributes: Attribute,
) -> Span:
    """A span around a block, as part of the one around it.

    Args:
        name: of a bounded set of names.
        parent: a `traceparent` that it is part of in place of the span around it; an empty one begins a trace.
        batch: the `traceparent`s of what is done together here: it is part of the first that is sampled, and linked to
            each of those.
        kind: as OpenTelemetry has it.
        attributes: what is known at its begin, as with `Span.note`.
    """
    if _tracing is None:
        return UNTRACED
    return _tracing.span(name, parent, batch, kind, attributes)


def trace_id() -> str | None:
    """The id of the trace that the current work belongs to, sampled or not."""
    return None if _tracing is None else _tracing.trace_id()


@asynccontextmanager
async def exporting(settings: Settings, program: str) -> AsyncIterator[None]:
    """Export this process's spans until the block ends; an exporter that cannot be had is told in one line."""
    global _tracing  # noqa: PLW0603  a process has one, as it has one log
    if settings.otel_exporter_otlp_endpoint is None or _tracing is not None:
        yield
        return
    _tracing = _open(settings, program)
    try:
        yield
    finally:
        tracing, _tracing = _tracing, None
        if tracing is not None:
            await tracing.close()


def _open(settings: Settings, program: str) -> Tracing | None:
    try:
        from app.traces.exporter import Tracing, disabled  # noqa: PLC0415  costs what is not wanted without an endpoint

        return None if disabled() else Tracing(settings, program)
    except ImportError as error:
        log.error(  # noqa: TRY400  no failure of ours
            "no traces: OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: "
            "pip install 'promidata-sync[traces]'",
            missing=error.name,
        )
    except (ValueError, OSError) as error:
        log.error("no traces: OpenTelemetry refuses its settings", error=str(error))  # noqa: TRY400  likewise
    return None
