"""Who may stay when a process holds as many connections as it may: those that wait make room, the oldest first.

    a connection ─▶ waiting (no whole request yet, or idle) ─▶ at work ─▶ waiting ...
    one too many ─▶ the longest waiting is closed
    too many at work ─▶ the longest that reads nothing of its answer is closed, else the new request is told 503

A tenth of the places is never taken by work, so that there is always one that waits and can make room, and `/healthz`
is answered whatever the others do.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import Protocol
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

STALLED_AFTER_S = 10.0
DEFAULT_LIMIT = 1000


class Connection(Protocol):
    """What can be closed to make room."""

    def hang_up(self) -> None:
        """Close at once, whatever is unsent."""


class Places:
    """The connections of one process, in the order in which they would be closed."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.limit_at_work = max(1, limit - max(1, limit // 10))
        self._waiting: dict[Connection, None] = {}
        self._stalled: dict[Connection, float] = {}

    def wait(self, connection: Connection) -> None:
        """It has no whole request; if it was waiting before, it keeps its turn."""
        self._waiting.setdefault(connection)

    def work(self, connection: Connection) -> None:
        """Its request is whole."""
        self._waiting.pop(connection, None)

    def stall(self, connection: Connection) -> None:
        """It does not read its answer at the moment."""
        self._stalled.setdefault(connection, time.monotonic())

    def go_on(self, connection: Connection) -> None:
        """It reads again."""
        self._stalled.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        self.work(connection)
        self.go_on(connection)

    def make_room(self, taken: int) -> None:
        """Close those that wait longest until no more than the limit of the `taken` places are taken.

        Called once what a new connection brought with it has been read: who came with a whole request waits no more.
        """
        for connection in list(islice(self._waiting, max(0, taken - self.limit))):
            connection.hang_up()

    def may_work(self, at_work: int) -> bool:
        """Whether one more request may be worked on beside `at_work` others."""
        return at_work < self.limit_at_work or self._close_stalled()

    def _close_stalled(self) -> bool:
        longest = next(iter(self._stalled), None)
        if longest is None or time.monotonic() - self._stalled[longest] < STALLED_AFTER_S:
            return False
        longest.hang_up()
        return True


_OF_SERVER: WeakKeyDictionary[ServerState, Places] = WeakKeyDictionary()


def places_of(server: ServerState, limit: int | None) -> Places:
    """The places of the server that a connection came to; `limit` is uvicorn's --limit-concurrency."""
    if server not in _OF_SERVER:
        _OF_SERVER[server] = Places(limit or DEFAULT_LIMIT)
    return _OF_SERVER[server]
