"""SQLAlchemy's pool of one process, which keeps nothing for good: what is idle can be closed, the oldest first.

How many there are at most is decided before (`turns.py`); whoever has a place there gets the connection that was used
last, whose statements are prepared, or a new one.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.pool import ConnectionPoolEntry, Pool
from sqlalchemy.pool.base import _ConnectionRecord

TRUSTED_S = 1.0
"""A connection given back no longer ago, in seconds, is not asked whether it lives, which takes two round trips: the
server closes its side when it goes, and that can be seen here."""


class ShrinkingPool(Pool):
    """Without a bound of its own; the last one given back is lent first, so that the others grow old and go."""

    _is_asyncio = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: list[tuple[float, ConnectionPoolEntry]] = []
        self._lent = 0
        self._promised: ConnectionPoolEntry | None = None

    @property
    def open(self) -> int:
        """How many connections there are, those among them that are being opened."""
        return self._lent + len(self._idle)

    def oldest_s(self) -> float | None:
        """For how long the one that is idle the longest has been so, in seconds; None when none is."""
        return time.monotonic() - self._idle[0][0] if self._idle else None

    def ready(self) -> ConnectionPoolEntry | None:
        """The one that is lent next, if it is open and need not be asked whether it lives, else None.

        One that is older than another's breaking is opened anew.
        """
        if not self._idle:
            return None
        since, entry = self._idle[-1]
        assert isinstance(entry, _ConnectionRecord)
        session = entry.driver_connection
        if entry._is_hard_or_soft_invalidated() or session is None or session.is_closed() or session.has_unread():  # noqa: SLF001
            return None
        return entry if not self._pre_ping or time.monotonic() - since < TRUSTED_S else None

    def promise(self, entry: ConnectionPoolEntry | None) -> None:
        """Lend what `ready` just gave to whoever asks next, without looking again: a moment later it may not be."""
        self._promised = entry

    def close_oldest(self) -> None:
        """Close the one that is idle the longest; returns once the server let go of it, or after two seconds."""
        if self._idle:
            self._idle.pop(0)[1].invalidate()

    def _do_get(self) -> ConnectionPoolEntry:
        self._lent += 1
        try:
            return self._take_idle() or self._create_connection()
        except BaseException:
            self._lent -= 1
            raise

    def _take_idle(self) -> ConnectionPoolEntry | None:
        """The last one given back to which the server has said nothing since, if there is one."""
        promised, self._promised = self._promised, None
        if promised is not None:
            _, entry = self._idle.pop()
            assert entry is promised and isinstance(entry, _ConnectionRecord)  # noqa: PT018
            entry.fresh = True
            return entry
        while self._idle:
            since, entry = self._idle.pop()
            session = entry.driver_connection
            assert isinstance(entry, _ConnectionRecord)
            if session is not None and (session.is_closed() or session.has_unread()):
                session.terminate()
                entry.invalidate()
                continue
            entry.fresh = time.monotonic() - since < TRUSTED_S and session is not None
            return entry
        return None

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._lent -= 1
        if record.dbapi_connection is not None:
            self._idle.append((time.monotonic(), record))

    def dispose(self) -> None:
        """Close what is idle."""
        while self._idle:
            self.close_oldest()

    def recreate(self) -> Pool:
        """An empty one like it; SQLAlchemy's engine takes it once this one is disposed of."""
        return ShrinkingPool(
            self._creator,
            pre_ping=self._pre_ping,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def status(self) -> str:
        """For SQLAlchemy's log."""
        return f"{self._lent} lent, {len(self._idle)} idle"
