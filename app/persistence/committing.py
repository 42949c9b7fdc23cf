"""COMMIT in one go with the last statement of a transaction, which saves a round trip, and holds rows for one less.

    the last statement, Sync ─┐ without waiting
    COMMIT                   ─┴─▶ PostgreSQL ─▶ answers: asyncpg hears of the statement when it is committed

PostgreSQL looks at COMMIT when the statement is over, and rolls back where that failed. So the statement itself has to
refuse what must not be committed as it is. asyncpg takes the statement to have been outside of a transaction then: it
is told that it is ready once, with the transaction over.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

from app.persistence.stand_in import BESIDE, ERROR, READY, StandIn, Unexpected, made

T = TypeVar("T")
COMMIT = made(b"Q", b"COMMIT\x00")
COMMITTED = made(b"C", b"COMMIT\x00")
IN_NONE = made(b"Z", b"I")


class NotCommitted(Unexpected):
    """The server answered COMMIT with something else: what holds is not known."""


class Committing(StandIn):
    """Stands before the driver's protocol, or behind a `Beginning`, until the answers to COMMIT are through."""

    def __init__(self, transport: Any, protocol: Any) -> None:
        """Send COMMIT, right behind a statement of the extended protocol."""
        super().__init__(transport, protocol)
        self._statement_is_over = False
        self._failed = False
        transport.write(COMMIT)

    def _receive(self, kind: int, message: bytes) -> None:
        if kind in BESIDE:
            self._protocol.data_received(message)
        elif not self._statement_is_over:
            self._receive_of_statement(kind, message)
        elif kind == READY:
            self._end(message)
        elif kind == ERROR and not self._failed:
            self._protocol.data_received(message)
        elif message != COMMITTED and not self._failed:
            self._break(NotCommitted("PostgreSQL answered COMMIT with something else"))

    def _end(self, ready: bytes) -> None:
        if ready != IN_NONE:  # as after a cancellation that came late and hit the COMMIT
            self._break(NotCommitted("PostgreSQL did not end the transaction at its COMMIT"))
            return
        self._hand_over()
        if not self._failed:
            self._protocol.data_received(ready)

    def _receive_of_statement(self, kind: int, message: bytes) -> None:
        self._failed |= kind == ERROR
        self._statement_is_over = kind == READY
        if kind != READY or self._failed:
            # After an error asyncpg hears that its transaction failed: else it might repeat the statement in none.
            self._protocol.data_received(message)


class Behind(Generic[T]):
    """What a coroutine returns; `then` is called when it waits for the first time, before anything can answer it."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], then: Callable[[], None]) -> None:
        self._coroutine, self._then = coroutine, then

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait for it, step by step."""
        steps = self._coroutine.__await__()
        step: Callable[[], Any] = partial(next, steps)
        then: Callable[[], None] | None = self._then
        while True:
            try:
                waited_for = step()
            except StopIteration as over:
                result: T = over.value
                return result
            if then is not None:
                then()
                then = None
            try:
                yield waited_for
            except BaseException as error:  # noqa: BLE001  it is the coroutine's
                step = partial(steps.throw, error)
            else:
                step = partial(next, steps)
