"""What is to be done once a transaction is committed, and not when it is rolled back: counting what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

KEY = "after_commit"


def after_commit(db: AsyncConnection, call: Callable[[], object]) -> None:
    """Call `call` when the transaction of `db` is committed; at once where each statement is."""
    calls = db.info.get(KEY)
    if calls is None:
        call()
    else:
        calls.append(call)


@contextmanager
def committing(db: AsyncConnection) -> Iterator[None]:
    """Around a transaction with its commit: what was asked for meanwhile is called if the block does not raise."""
    calls: list[Callable[[], object]] = []
    info = db.info
    info[KEY] = calls
    try:
        yield
    finally:
        del info[KEY]
    for call in calls:
        call()
