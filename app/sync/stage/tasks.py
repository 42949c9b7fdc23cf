"""Tasks that end together: a group whose error is the error, not a group of one, and an end that waits for all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType


class _Group(asyncio.TaskGroup):
    """A TaskGroup that takes its own cancellation back.

    Until Python 3.13 (cpython gh-116720) one whose task fails while the others are waited for leaves its parent
    `cancelling()`, which nobody asked for, and every later call of the same task would end as cancelled.
    """

    _parent_cancel_requested: bool
    _parent_task: asyncio.Task[object]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        was_taken_back = self._parent_cancel_requested or sys.version_info >= (3, 13)
        try:
            await super().__aexit__(kind, error, traceback)
        finally:
            if self._parent_cancel_requested and not was_taken_back:
                self._parent_task.uncancel()


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks that end together: the first error cancels the others and is raised as it is.

    A job's outcome is decided by one error; what its siblings raised while they were being cancelled adds nothing.
    """
    try:
        async with _Group() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group, looked up through groups within it."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error


async def end_all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended, whatever they end with."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # it was logged, or was raised before
