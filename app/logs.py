"""Structured logs: one event a line, secrets masked, with the ids of what it is about: run, job, request, trace.

Whoever works on a job or answers a request says so with `about`; what is done for several at once has no ids.

JSON where standard error is not a terminal, coloured text where it is. The feed's base address is a credential
(API.md, "Around it"), so whoever logs an address passes it through `mask_address` first.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType
from urllib.parse import urlsplit

import structlog

from app import traces

SHOWN_PATH_CHARS = 4

_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default=MappingProxyType({}))


class about:  # noqa: N801  as a context manager of the standard library
    """Each line that is logged within the block has these ids, beside those of a block around it.

    As structlog's `bound_contextvars`, which keeps a variable for each name and takes five times as long; a worker does
    this for each job.
    """

    __slots__ = ("_given", "_token")
    _token: Token[Mapping[str, str]]

    def __init__(self, **ids: str) -> None:
        self._given = ids

    def __enter__(self) -> None:
        around = _ids.get()
        self._token = _ids.set({**around, **self._given} if around else self._given)

    def __exit__(self, *_: object) -> None:
        _ids.reset(self._token)


def configure_logs(level: str = "INFO") -> None:
    """Set structlog up for this process; `level` is a name of the logging module."""
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            add_ids,
            add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        # looked up at each line: standard error may be another one by then, and a closed one must end no job
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def add_ids(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A processor: the ids of what the line is about, where it does not say so itself."""
    for name, value in _ids.get().items():
        event.setdefault(name, value)
    return event


def add_trace(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A processor: the id of the trace that the line belongs to."""
    trace = traces.trace_id()
    if trace is not None:
        event.setdefault("trace", trace)
    return event


def mask_address(url: str) -> str:
    """The address with everything secret taken out: user info, query, and the middle of every long path segment.

    >>> mask_address("https://u:p@promi-dl.de/Profiles/Live/0f3c9a2e-aaaa/Import/Import.txt?x=1")
    'https://promi-dl.de/Profiles/Live/0f3c…/Import/Import.txt'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{mask_path(parts.path)}"


def mask_path(path: str) -> str:
    """A path with the middle of every long segment taken out that may be a key, a profile's id always.

    >>> mask_path("/api/v1/runs/0f3c9a2e-1b2c-4d5e-8f90-112233445566/cancel")
    '/api/v1/runs/0f3c…/cancel'
    """
    segments = path.split("/")
    return "/".join(
        _mask_segment(segment, is_profile=position >= 2 and segments[position - 2] == "Profiles")
        for position, segment in enumerate(segments)
    )


def _mask_segment(segment: str, *, is_profile: bool) -> str:
    """A profile's id is secret whatever it looks like; elsewhere what looks like a key is."""
    looks_like_key = len(segment) >= 12 and "." not in segment and any(c.isdigit() for c in segment)
    return shorten_secret(segment) if segment and (is_profile or looks_like_key) else segment


def shorten_secret(secret: str) -> str:
    """The first characters of a secret, at most four and never half of it, so that two can be told apart."""
    return f"{secret[: min(SHOWN_PATH_CHARS, len(secret) // 3)]}…"
