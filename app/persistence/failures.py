"""What PostgreSQL's refusals mean, an outage, a conflict to repeat or a statement that was wrong; how they are told."""

from __future__ import annotations

import asyncpg
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, StatementError

from app.persistence.advice import ADVICE, advise, is_wrong_tls
from app.persistence.stand_in import Unexpected

STATEMENT_CANCELLED = "57014"
"""By its time-out, or by an operator (`pg_cancel_backend`). PostgreSQL tells the two apart by its text alone, which is
in the server's language (`lc_messages`); `Database.transact` does by the time that went by."""
REPEATABLE = frozenset({"40001", "40P01", "55P03", STATEMENT_CANCELLED})
"""Serialization failure, deadlock, lock not available, and the above: repeated at once, at no cost to the job."""
OUTAGE_CLASSES = ("08", "57P", "53", "58", "25P03", "25P04", "28", "3D")
"""Connection failures, operator intervention, insufficient resources, errors of the server's disk or system, a
transaction that idled while we were frozen or took longer than the server lets any; and what is said on connecting of
a user or a database that is not there."""
NOT_LET_IN = ("28", "3D")
"""Of these, what no outage says: this user may not come in, or there is no such database."""
READ_ONLY = "25006"
TOO_MANY_CONNECTIONS = "53300"
"""The limit of the role, of the database, or `max_connections`, also "remaining connection slots are reserved"."""
OTHER_SERVER = frozenset({"26000", "42P05"})
"""A prepared statement that is not there, or is there twice: between two messages a pooler changed the server."""
NO_RIGHT = "42501"
"""A right on a table is missing: no job's fault, and over as soon as it is granted."""
LACKING = frozenset({"42P01", "42703"})
"""No such table, no such column."""
WRONG_OPTIONS = frozenset({"42704", "22023", "55P02"})
"""Of DATABASE_URL: no such setting, no such value, or one that only a start of the server can change."""
SAID_BY_A_POOLER = ("prepared statement", "unsupported startup parameter")
WITHOUT_VALUES = ("23", "25", "40", "42501", "42703", "42P01", "53", "54", "55", "57", "P0")
"""States whose message names tables, columns and constraints alone. Others repeat what they choke on: a parameter
(`invalid input syntax for type integer: "…"`) or a piece of the statement."""
ENDINGS = frozenset({"57P01", "57P05", "25P03", "25P04"})
"""An operator or a shutdown ended the session, or a time-out of the server's, for idle ones or for transactions."""
ENDED_UNASKED = "another operation (2) is in progress"
"""asyncpg, where it has read that word of the server's, which answers nothing, and the connection is not closed yet."""
POOLER_HINT = "if a transaction pooler such as PgBouncer stands in front, set DATABASE_TRANSACTION_POOLER=true"


class StatementRefused(Exception):
    """A statement was wrong: a bug of ours, so it has no place in the tree of errors, and every door knows what to do.

    Its text holds neither the statement nor a parameter, wherever it goes; the traceback leads to the statement.
    `sqlstate` is PostgreSQL's, None where the driver refused to send it.
    """

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message, sqlstate)
        self.message = message
        self.sqlstate = sqlstate

    def __str__(self) -> str:
        return self.message


def refusal(error: StatementError) -> StatementRefused:
    """The same failure without SQL and parameters, which SQLAlchemy's text and PostgreSQL's details are full of."""
    cause, state = undressed(error), sqlstate(error)
    name = f"{type(cause).__name__}, SQLSTATE {state}" if state else type(cause).__name__
    said = f": {_first_line(cause)}" if state and state.startswith(WITHOUT_VALUES) else ""
    return StatementRefused(f"PostgreSQL refused a statement ({name}){said}", state)


def undressed(error: BaseException) -> BaseException:
    """The driver's own error behind SQLAlchemy's two wrappers, whose texts hold the statement and its parameters."""
    orig = getattr(error, "orig", None) or error
    return orig.__cause__ or orig if isinstance(error, StatementError) else error


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of asyncpg's own error or behind SQLAlchemy's wrapper, or None."""
    state = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
    return state if isinstance(state, str) else None


def is_outage(error: DBAPIError) -> bool:
    """Whether the failure says that PostgreSQL is away rather than that a statement was wrong.

    Whatever is said on connecting does (`throw_away_broken`): a pooler that is full says so with a state of its own.
    """
    state = sqlstate(error)
    return error.connection_invalidated or is_outage_state(state) or (error.statement is None and state is None)


def is_outage_state(state: str | None) -> bool:
    """Whether a SQLSTATE means that the connection is of no use: an outage, or another server behind a pooler."""
    return state is not None and (state == READ_ONLY or state in OTHER_SERVER or state.startswith(OUTAGE_CLASSES))


def is_misfit(error: Exception) -> bool:
    """Whether somebody must set or grant something, of a failure that keeps us from using PostgreSQL.

    A name that leads nowhere is no misfit: where hosts come and go, that of a server that is away does.
    """
    cause, state, said = undressed(error), sqlstate(error), _reason(error)
    if any(words in said for words in SAID_BY_A_POOLER):
        return True
    if state is None:
        return isinstance(cause, asyncpg.ClientConfigurationError) or is_wrong_tls(cause, said)
    return state.startswith(NOT_LET_IN) or state == NO_RIGHT or state in LACKING or state in WRONG_OPTIONS


def throw_away_broken(context: ExceptionContext) -> None:
    """SQLAlchemy's `handle_error`: the connection goes, and after an outage all that were opened before it.

    One that did not come about is of no use whatever the reason, and says nothing of those that did.
    """
    state = getattr(context.original_exception, "sqlstate", None)
    if context.connection is None:
        context.is_disconnect = True
    elif is_outage_state(state):
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = state not in OTHER_SERVER


def explain(address: str, error: BaseException) -> str:
    """One line for whoever has to act on it."""
    reason = _reason(error)
    if _is_ended(error, reason):
        why = "by pg_terminate_backend, a shutdown or a time-out of its own for idle ones or transactions"
        return f"PostgreSQL at {address} ended the session ({why}); a new one is opened by itself"
    known = advise(getattr(error, "orig", None) or error, reason)
    if known is not None:
        return f"PostgreSQL at {address}: {known}"
    todo = "is it running, and is DATABASE_URL right?"
    if any(words in reason for words in SAID_BY_A_POOLER):
        todo = POOLER_HINT
    return f"PostgreSQL at {address} cannot be used ({reason}); {todo}"


def is_explained(error: BaseException) -> bool:
    """Whether the text of an outage that `explain` told ends with what to do."""
    return error.__cause__ is not None and sqlstate(error.__cause__) in ADVICE


def _is_ended(error: BaseException, reason: str) -> bool:
    """Whether the server ended the session; what it said of that is the cause of asyncpg's "connection was closed"."""
    driver = undressed(error)
    said = {sqlstate(one) for one in (driver, driver.__cause__) if one is not None}
    return not said.isdisjoint(ENDINGS) or ENDED_UNASKED in reason


def explain_lack(address: str, error: BaseException) -> str:
    """One line for a table or a column that is not there."""
    return f"the database at {address} lacks what this version needs ({_reason(error)}): run `promidata-sync migrate`"


def explain_refusal(address: str, error: BaseException, held: int, size: int) -> str:
    """One line for SQLSTATE 53300: whose limit it is, and the two numbers that it is made of."""
    reason = _reason(error)
    limit = "its max_connections"
    if "role" in reason and "reserved" not in reason:
        limit = "the CONNECTION LIMIT of the role"
    elif "database" in reason:
        limit = "the CONNECTION LIMIT of the database"
    return (
        f"PostgreSQL at {address} takes no more connections: {reason}; this process has {held} of DATABASE_POOL_SIZE "
        f"{size}; processes x DATABASE_POOL_SIZE must fit into {limit}: lower the one or raise the other"
    )


def _reason(error: BaseException) -> str:
    """What the driver says; of a transaction that was refused it only knows that the connection closed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Unexpected):
            return _first_line(cause)
        cause = cause.__cause__
    return _first_line(getattr(error, "orig", None) or error)


def _first_line(error: BaseException) -> str:
    """What an error says, without the details that PostgreSQL puts on further lines: values of the row among them."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
