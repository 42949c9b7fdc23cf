"""Statements sent straight to the driver, and those that SQLAlchemy sends, each written once.

    ask ─▶ asyncpg ─▶ rows
            └─ failed ─▶ told to SQLAlchemy as if the statement had been its own ─▶ DBAPIError

SQLAlchemy takes more than twice as long for a small statement as the driver does (docs/decisions/0034). It keeps what
it is for: the pool, transactions, and what a failure means for the connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NoReturn

import asyncpg
import sqlalchemy
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import greenlet_spawn

from app.errors import DatabaseUnavailable

MOST_KEPT = 1_000
"""Texts; those that are put together from parts come in few kinds."""
NOTHING = "SELECT"
ANSWERS_WITHIN_S = 2
"""Seconds after which a connection that was idle, and is asked whether it lives, is taken for dead."""
_PARAMETER = re.compile(r"(?<![:\w]):(\w+)(?!:)")
"""As SQLAlchemy finds them."""


class Row(asyncpg.Record):  # type: ignore[misc]
    """A row whose columns are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@lru_cache(maxsize=MOST_KEPT)
def text(sql: str) -> sqlalchemy.TextClause:
    """The statement with this text, for SQLAlchemy, which takes a fifth of sending one to look for its parameters.

    What is given is shared and must not be changed.
    """
    return sqlalchemy.text(sql)


def as_bytes(value: str) -> str:
    """The SQL of a text as bytes, for what goes out as it came: neither decoded nor encoded here."""
    return f"convert_to({value}, 'UTF8')"


async def ask(
    db: AsyncConnection, sql: str, given: Mapping[str, Any] | None = None, *, commits: bool = False
) -> Sequence[Any]:
    """Run a statement with `:name` parameters; returns its rows, whose columns are attributes, keys and places.

    With `commits` the transaction's COMMIT goes out right behind it, for which `last_statements.py` has the rules.

    Raises:
        DBAPIError: as SQLAlchemy's `execute`.
        ResourceClosedError: the block that the connection was lent for has ended.
        DatabaseUnavailable: the connection broke in a statement before this one.
    """
    connection = db.sync_connection
    if connection is None:
        raise ResourceClosedError("a statement on a connection that was given back")
    if connection.invalidated:  # or SQLAlchemy would take another one, whose place nobody has
        raise DatabaseUnavailable("the connection to PostgreSQL broke in a statement before this one")
    adapted: Any = connection.connection.dbapi_connection
    numbered, names = _numbered(sql)
    values = [given[name] for name in names] if given else ()
    try:
        if adapted._transaction is None:  # noqa: SLF001  begun with the first statement, where there is to be one
            await adapted._start_transaction()  # noqa: SLF001
        session = adapted.driver_connection
        refuse_behind_commit(session)
        if commits:
            rows: list[Row] = await session.fetch_and_commit(numbered, values, Row)
        else:
            rows = await session.fetch(numbered, *values, record_class=Row)
    except BaseException as error:  # noqa: BLE001  raised again
        await greenlet_spawn(_fail, connection, error, numbered)
    return rows


def refuse_behind_commit(session: Any) -> None:
    """See that COMMIT has not gone out: what followed it would be in no transaction.

    Raises:
        AssertionError: it has.
    """
    if session.committed and not session.is_closed():
        raise AssertionError("a statement behind the COMMIT of its transaction")


def info_of(db: AsyncConnection) -> dict[Any, Any]:
    """What is noted of a connection that is lent. `db.info` is the same by a way that is three times as long."""
    connection = db.sync_connection
    assert connection is not None
    return connection.info


async def is_alive(connection: Connection) -> bool:
    """Whether the server answers on a connection that is in no transaction; where not, it is thrown away.

    By one message, for which nothing is prepared and no transaction begins, so that it is right for a pooler, too. No
    answer within `ANSWERS_WITHIN_S` is none: what is older is taken for as dead then, as after an error that says so.
    """
    adapted: Any = connection.connection.dbapi_connection
    session = adapted.driver_connection
    try:
        await session.execute(NOTHING, timeout=ANSWERS_WITHIN_S)
    except Exception as error:  # noqa: BLE001  told to SQLAlchemy, which knows what it means for the other connections
        session.terminate()  # first, or a goodbye would be said, and waited for
        known = asyncpg.ConnectionDoesNotExistError("no answer") if isinstance(error, TimeoutError) else error
        with suppress(DBAPIError, OSError):
            await greenlet_spawn(_fail, connection, known, NOTHING)
        return False
    return True


async def column(db: AsyncConnection, sql: str, given: Mapping[str, Any] | None = None) -> list[Any]:
    """The first column of what `ask` returns."""
    return [row[0] for row in await ask(db, sql, given)]


async def value(db: AsyncConnection, sql: str, given: Mapping[str, Any] | None = None) -> Any:
    """The first column of the first row that `ask` returns; None where there is no row."""
    rows = await ask(db, sql, given)
    return rows[0][0] if rows else None


@lru_cache(maxsize=MOST_KEPT)
def _numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """The text as PostgreSQL takes it, and the names of its parameters in the order of their numbers."""
    numbers: dict[str, int] = {}
    numbered = _PARAMETER.sub(lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", sql)
    return numbered, tuple(numbers)


def _fail(connection: Connection, error: BaseException, sql: str) -> NoReturn:
    """Raise `error` as SQLAlchemy does, which also throws a broken connection away."""
    adapted: Any = connection.connection.dbapi_connection
    try:
        adapted._handle_exception(error)  # noqa: SLF001
    except BaseException as told:  # noqa: BLE001  raised again
        statement = sql if isinstance(told, adapted.dbapi.Error) else None  # else it would be taken for a wrong one
        connection._handle_dbapi_exception(told, statement, None, None, None)  # noqa: SLF001
    raise AssertionError("the driver's error is raised")
