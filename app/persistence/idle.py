"""The open connections of one process that nobody has: kept ready for the next loan, or to be closed when they are old.

SQLAlchemy's own object stays with each: to make one for a loan and to close it again takes longer than all else that a
loan needs, where that code has not run for a while (docs/decisions/0046). So SQLAlchemy only opens and closes, and
what its pool would look at before it lends is looked at here.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection
from sqlalchemy.pool.base import _ConnectionFairy

TRUSTED_S = 1.0
"""A connection given back no longer ago, in seconds, is not asked whether it lives, which takes a round trip: the
server closes its side when it goes, and that can be seen here."""


class Kept(NamedTuple):
    """One of them."""

    since: float
    connection: Connection

    @property
    def is_usable(self) -> bool:
        """Whether it is open, as far as can be seen here, and not older than another's breaking."""
        if self.connection.invalidated:
            return False
        proxied = self.connection.connection
        assert isinstance(proxied, _ConnectionFairy)
        record, session = proxied._connection_record, proxied.driver_connection  # noqa: SLF001
        if record is None or record._is_hard_or_soft_invalidated() or session is None:  # noqa: SLF001
            return False
        return not (session.is_closed() or session.has_unread())

    def break_off(self) -> None:
        """Let go of one that is of no use, without a word to the server, which may not be there to answer it."""
        session: Any = None if self.connection.invalidated else self.connection.connection.driver_connection
        if session is not None:
            session.terminate()

    @property
    def is_trusted(self) -> bool:
        """Whether it was in use so lately that it need not be asked whether it lives."""
        return time.monotonic() - self.since < TRUSTED_S


class Idle:
    """The last one given back is lent first, since its statements are prepared, and so that the others grow old."""

    def __init__(self) -> None:
        self._kept: list[Kept] = []

    def __len__(self) -> int:
        return len(self._kept)

    def oldest_s(self) -> float | None:
        """For how long the one that is idle the longest has been so, in seconds; None when none is."""
        return time.monotonic() - self._kept[0].since if self._kept else None

    def keep(self, connection: Connection) -> None:
        """Keep one on which nothing has to be ended."""
        self._kept.append(Kept(time.monotonic(), connection))

    def last(self) -> Kept | None:
        """The one that is to be lent next; it stays."""
        return self._kept[-1] if self._kept else None

    def take_last(self) -> Kept:
        """Take out the one that is to be lent next.

        Raises:
            IndexError: there is none.
        """
        return self._kept.pop()

    def take_oldest(self) -> Connection:
        """Take out the one that is idle the longest.

        Raises:
            IndexError: there is none.
        """
        return self._kept.pop(0).connection
