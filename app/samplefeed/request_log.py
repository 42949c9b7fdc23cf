"""What was asked, in order, with counts and the most at once by kind: a test's and the bench's evidence."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Kind = Literal["manifest", "category", "document", "picture", "other"]


@dataclass(slots=True)
class LoggedRequest:
    """One request; `status` is 0 while it is open and where no status went out; `at` in seconds since 1970."""

    method: str
    path: str
    kind: Kind
    at: float
    status: int = 0


class RequestLog:
    """The requests since the start or the last reset. Control requests are not among them."""

    def __init__(self) -> None:
        self.requests: list[LoggedRequest] = []
        self.counts: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self._open: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget everything but what is open."""
        self.requests = []
        self.counts = Counter()
        self.most_at_once = Counter(self._open)

    @contextmanager
    def noting(self, method: str, path: str, kind: Kind) -> Iterator[LoggedRequest]:
        """Keep a request while it is answered; the caller sets its status."""
        request = LoggedRequest(method, path, kind, time.time())
        self.requests.append(request)
        self.counts[kind] += 1
        self._open[kind] += 1
        self.most_at_once[kind] = max(self.most_at_once[kind], self._open[kind])
        try:
            yield request
        finally:
            self._open[kind] -= 1

    def paths(self, kind: Kind) -> list[str]:
        """The paths asked of a kind, in order."""
        return [request.path for request in self.requests if request.kind == kind]
