"""What is to be done once a transaction is committed, and not when it is rolled back: counting what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.statements import info_of

KEY = "after_commit"


def after_commit(db: AsyncConnection, call: Callable[[], object]) -> None:
    """Call `call` when the transaction of `db` is committed; at once where each statement is."""
    calls = info_of(db).get(KEY)
    if calls is None:
        call()
    else:
        calls.append(call)


def begin_to_collect(info: dict[Any, Any]) -> None:
    """A transaction begins on the connection that this is the `info` of."""
    info[KEY] = []


def collected(info: dict[Any, Any]) -> list[Callable[[], object]]:
    """It has ended: what is to be called if it was committed."""
    calls: list[Callable[[], object]] = info.pop(KEY, [])
    return calls
