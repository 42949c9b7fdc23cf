"""Which statement of a transaction is its last, so that COMMIT goes out behind it without another wait.

Only `Database.transact` allows it, since only there a transaction is repeated: a statement that finds that it is not
the last after all fails, all is rolled back, and `work` is done again with a COMMIT that is waited for.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Transaction
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import greenlet_spawn

from app.persistence.failures import sqlstate
from app.persistence.statements import ask, info_of

KEY = "last_statement"
REFUSAL = "no fault: more is written than was thought, it is done again"
"""What the server's log says then, in a line about the syntax of a number: what fails needs no function of ours, which
who works on the tables would have to be granted. `concat` is computed where it is asked for, not when it is planned."""
NO_NUMBER = "22P02"


class NotTheLast(Exception):
    """More has to be written in this transaction than was thought; nothing is."""


def allow_commit(info: dict[Any, Any], *, last: bool) -> None:
    """Whether the last statement of the transaction may take COMMIT along; `info` is its connection's."""
    info[KEY] = last


def is_committed(db: AsyncConnection) -> bool:
    """Whether COMMIT went out with the last statement."""
    lent: Any = db.sync_connection
    return bool(lent.connection.driver_connection.committed)


async def commit(db: AsyncConnection, transaction: Transaction) -> None:
    """Commit; where COMMIT went out with the last statement, only say so to the driver and to SQLAlchemy."""
    if not is_committed(db):
        await greenlet_spawn(transaction.commit)
        return
    lent: Any = db.sync_connection
    adapted: Any = lent.connection.dbapi_connection
    _to_its_end(adapted._call_and_discard(adapted._transaction.commit))  # noqa: SLF001
    transaction.commit()


def _to_its_end(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what has nothing to wait for, without the greenlet that SQLAlchemy would take."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("a transaction that is committed waits for something")


async def ask_last(db: AsyncConnection, sql: str, given: Mapping[str, Any], *, unless: str) -> Sequence[Any]:
    """As `ask`, of a statement that ends in RETURNING: nothing follows it in its transaction, unless it says so.

    Where COMMIT goes out with it and the condition `unless`, which is never NULL, is met, it is rolled back.

    Raises:
        NotTheLast: that was so; for `Database.transact`, which does it again.
    """
    if not info_of(db).get(KEY):
        return await ask(db, sql, given)
    try:
        return await ask(db, f"{sql}, {_fails_if(unless)} AS follows", given, commits=True)
    except DBAPIError as error:
        if sqlstate(error) == NO_NUMBER:  # a wrong parameter is one, too, and will be again
            raise NotTheLast from None
        raise


def _fails_if(condition: str) -> str:
    return f"CASE WHEN {condition} THEN CAST(concat('{REFUSAL}') AS int) END"
