"""Faults: what a path answers in place of what it should, how often, and for how long.

| action           | what the client sees |
|---|---|
| `status`         | `status`, with `retry_after` and `body` if given |
| `reset`          | the connection reset before the first byte |
| `slow`           | the whole answer, its first byte after `seconds` |
| `drip`           | the answer, one byte every `seconds` |
| `cut`            | `share` of the body, though Content-Length promises all of it |
| `cut_chunked`    | `share` of the body in chunks, and no last chunk |
| `cut_close`      | `share` of the body, no length, the connection closed |
| `broken_json`    | whole, and not JSON |
| `html`           | a login page with 200 under the right content type, or the given one |
| `stale`          | the document before its last change |
| `body`           | `body` in place of the answer's |
| `content_type`   | the right body under `content_type` |
| `redirect`       | `status` (302) to `location` |
| `gzip_bomb`      | gzip that opens to `opened_bytes` zeros |
| `endless_header` | a header that goes on, a line every `seconds` |
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

Action = Literal[
    "status",
    "reset",
    "slow",
    "drip",
    "cut",
    "cut_chunked",
    "cut_close",
    "broken_json",
    "html",
    "stale",
    "body",
    "content_type",
    "redirect",
    "gzip_bomb",
    "endless_header",
]
ACTIONS: tuple[str, ...] = get_args(Action)


@dataclass(slots=True)
class Fault:
    """One fault. It is over after `times` answers or `for_s` seconds, whichever is first; None: never."""

    pattern: str
    """A shell pattern on the path (`*/A23-100000.json`), or one of the kinds `manifest`, `document`, `picture`,
    `category`, or `*` for everything."""
    action: Action
    times: int | None = None
    for_s: float | None = None
    status: int | None = None
    retry_after: str | None = None
    seconds: float = 1.0
    share: float = 0.5
    body: bytes = b""
    content_type: str | None = None
    location: str = ""
    opened_bytes: int = 10 * 1024**3
    hits: int = 0
    since_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"{self.action} is none of {', '.join(ACTIONS)}")

    @property
    def is_over(self) -> bool:
        """It has answered as often or as long as it was to."""
        spent = self.times is not None and self.hits >= self.times
        return spent or (self.for_s is not None and time.monotonic() - self.since_s > self.for_s)

    def fits(self, path: str, kind: str) -> bool:
        """It is meant for this request."""
        return self.pattern == kind or fnmatchcase(path, self.pattern)


class FaultTable:
    """The faults of a server; the one added first that fits is taken."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, pattern: str, action: Action, **details: Any) -> Fault:
        """One more fault; the details are the fields of `Fault`. ValueError for an unknown action."""
        fault = Fault(pattern, action, **details)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """No faults any more."""
        self._faults.clear()

    def take(self, path: str, kind: str) -> Fault | None:
        """The fault for this request, counted, or None."""
        for fault in self._faults:
            if fault.fits(path, kind) and not fault.is_over:
                fault.hits += 1
                return fault
        return None

    def all(self) -> tuple[Fault, ...]:
        """Every fault, the ones that are over too."""
        return tuple(self._faults)
