"""Many small questions, few round trips: what comes up while one batch is under way is the next batch.

A slow disk or network makes larger batches, not slower jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

from app.errors import OutageError

LOOK_S = 0.05
"""So soon a batch that waits for others sees that there are none."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Collects items and hands them to `work` together; each asker gets its own answer.

    `work` gets at most `most` items and answers in their order. When it raises, each item is tried alone, so that one
    that cannot be written costs its neighbours nothing; an outage is everybody's.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        most: int = 100,
        linger_s: float = 0.0,
        more_coming: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare an empty batch.

        Args:
            work: answers a batch.
            most: the largest batch.
            linger_s: how long the first of a batch waits for others, while `more_coming` says that there will be any.
            more_coming: asked when a batch is about to begin and while it waits; a lone item never does.
        """
        self._work = work
        self._most = most
        self._linger_s = linger_s
        self._more_coming = more_coming
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        """The answer for `item`, once its batch is through."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runner is None or self._runner.done():
            # a batch is not its first asker's: neither that one's trace nor its ids in the log
            self._runner = asyncio.create_task(self._run(), context=Context())
        return await future

    async def _run(self) -> None:
        await asyncio.sleep(0)  # lets everything that is ready in this turn of the loop join the first batch
        while self._waiting:
            await self._linger()
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            batch = [(item, future) for item, future in batch if not future.done()]
            if batch:
                await self._answer(batch)

    async def _linger(self) -> None:
        left_s = self._linger_s
        while left_s > 0 and len(self._waiting) < self._most and self._more_coming():
            await asyncio.sleep(min(LOOK_S, left_s))
            left_s -= LOOK_S

    async def _answer(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._work([item for item, _ in batch])
        except OutageError as error:
            _tell(batch, error)
            return
        except Exception as error:  # noqa: BLE001  the asker gets it, so nothing is swallowed
            if len(batch) == 1:
                _tell(batch, error)
                return
            for one in batch:
                await self._answer([one])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def _tell(batch: Sequence[tuple[Any, asyncio.Future[Any]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
