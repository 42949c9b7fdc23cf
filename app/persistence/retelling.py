"""What fails on the way to PostgreSQL, told in our words: an outage, something to set or grant, a wrong statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, StatementError

from app.errors import DatabaseMisfit, DatabaseReadOnly, DatabaseUnavailable
from app.outages import end_if_cancelled
from app.persistence.failures import (
    LACKING,
    NO_RIGHT,
    READ_ONLY,
    REPEATABLE,
    explain,
    explain_lack,
    is_misfit,
    is_outage,
    refusal,
    sqlstate,
    undressed,
)


@dataclass(frozen=True, slots=True)
class Retelling:
    """Of one kind of work with the database at an address."""

    shown: str
    """The address, for messages."""
    conflicts: bool = False
    """A conflict with another transaction is an outage, too: nobody repeats the work at once."""
    migrating: bool = False
    """A table or a column that is not there is no sign of a migration that has not been run."""

    def retell(self, error: Exception) -> None:
        """Raise it in our words; return where it is none of the database's.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, or closed the connection.
            DatabaseReadOnly: it takes no writes.
            DatabaseMisfit: somebody must set or grant something first.
            StatementRefused: a statement was wrong, or lost a conflict.
            CancelledError: the task is being cancelled, and the error came of that.
        """
        end_if_cancelled(error)
        reason = self._why_unavailable(error)
        if reason is not None:
            raise _kind(error)(reason) from undressed(error)
        if isinstance(error, StatementError):
            raise refusal(error).with_traceback(error.__traceback__) from None

    @contextmanager
    def around(self) -> Iterator[None]:
        """Retell what a block raises."""
        try:
            yield
        except Exception as error:
            self.retell(error)
            raise

    def _why_unavailable(self, error: Exception) -> str | None:
        if isinstance(error, DBAPIError):
            is_one = is_outage(error) or sqlstate(error) == NO_RIGHT
            if is_one or (self.conflicts and sqlstate(error) in REPEATABLE):
                return explain(self.shown, error)
            return explain_lack(self.shown, error) if sqlstate(error) in LACKING and not self.migrating else None
        # asyncpg's own errors escape as they are while SQLAlchemy connects or sets a new connection up
        drivers = type(error).__module__.startswith("asyncpg")
        return explain(self.shown, error) if drivers or isinstance(error, (OSError, TimeoutError)) else None


def _kind(error: Exception) -> type[DatabaseUnavailable]:
    if sqlstate(error) == READ_ONLY:
        return DatabaseReadOnly
    return DatabaseMisfit if is_misfit(error) else DatabaseUnavailable
