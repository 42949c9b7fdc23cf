"""What goes out: requests to the feed, to hosts of pictures and to receivers, and the object store's operations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, Self, TypeVar

from prometheus_client import Counter, Histogram

from app.errors import AddressRefused, BodyTooLarge, OriginRefused, OriginUnavailable
from app.metrics.bounded import BoundedLabel
from app.metrics.registry import REGISTRY, series

P = ParamSpec("P")
R = TypeVar("R")
RequestKind = Literal["manifest", "categories", "document", "picture", "webhook", "other"]

MOST_HOSTS = 20
"""Hosts that are told apart; a feed may name any number. The feed's own is asked first, so it is among them."""
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

REQUEST_SECONDS = Histogram(
    "promidata_origin_request_seconds",
    "Requests out, from the first byte sent to the whole answer; the wait for the shared budget is no part of it.",
    ["host", "kind"],
    buckets=BUCKETS,
    registry=REGISTRY,
)
REQUESTS = Counter(
    "promidata_origin_requests",
    "Requests out by what came of them; `unavailable` is worth another try, `refused` is not.",
    ["host", "kind", "outcome"],
    registry=REGISTRY,
)
REQUEST_BYTES = Counter(
    "promidata_origin_bytes", "Bytes of bodies received, decompressed.", ["host", "kind"], registry=REGISTRY
)
STORE_SECONDS = Histogram(
    "promidata_store_request_seconds",
    "Operations of the object store, tries again included.",
    ["host", "operation"],
    buckets=BUCKETS,
    registry=REGISTRY,
)
STORE_ERRORS = Counter(
    "promidata_store_errors", "Operations of the object store that failed.", ["host", "operation"], registry=REGISTRY
)
STORE_BYTES = Counter(
    "promidata_store_bytes",
    "Bytes written to and read from the object store.",
    ["host", "operation"],
    registry=REGISTRY,
)

_OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (OriginUnavailable, "unavailable"),
    (OriginRefused, "refused"),
    (AddressRefused, "address_refused"),
    (BodyTooLarge, "too_large"),
    (asyncio.CancelledError, "cancelled"),
)
_hosts = BoundedLabel(MOST_HOSTS)


class OutboundRequest:
    """Measures one request, its body included, for as long as its block lasts."""

    __slots__ = ("_begun", "_host", "_kind", "_outcome")

    def __init__(self, host: str, kind: RequestKind) -> None:
        self._host, self._kind = _hosts.of(host), kind
        self._outcome = "ok"
        self._begun = 0.0

    def answered(self, size: int, *, not_modified: bool = False) -> None:
        """Say how large the body was; a 304 has none."""
        if not_modified:
            self._outcome = "not_modified"
        series(REQUEST_BYTES, self._host, self._kind).inc(size)

    def redirected(self) -> None:
        """Say that it led to another request, which is measured for itself."""
        self._outcome = "redirected"

    def __enter__(self) -> Self:
        self._begun = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._outcome = next((name for known, name in _OUTCOMES if isinstance(error, known)), "error")
        series(REQUESTS, self._host, self._kind, self._outcome).inc()
        series(REQUEST_SECONDS, self._host, self._kind).observe(time.perf_counter() - self._begun)


class Hosted(Protocol):
    """A store that says where it is."""

    host: str


S = TypeVar("S", bound=Hosted)
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, R]]


def measured(operation: str) -> Callable[[Method[S, P, R]], Method[S, P, R]]:
    """Measure a store's method; the bytes that it is given, or gives, are counted."""

    def wrap(method: Method[S, P, R]) -> Method[S, P, R]:
        async def timed(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            begun, errors = time.perf_counter(), series(STORE_ERRORS, self.host, operation)  # begins at 0
            try:
                result = await method(self, *args, **kwargs)
            except Exception:
                errors.inc()
                raise
            finally:
                series(STORE_SECONDS, self.host, operation).observe(time.perf_counter() - begun)
            size = sum(len(value) for value in (*args, result) if isinstance(value, bytes))
            if size:
                series(STORE_BYTES, self.host, operation).inc(size)
            return result

        update_wrapper(timed, method)
        return timed

    return wrap
