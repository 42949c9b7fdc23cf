"""An answer in time, whatever stands still behind it: a frozen server neither answers nor breaks a connection.

    request ─▶ endpoint, in a task of its own ─▶ answered ──────────────▶ its answer
                   └ nothing within 9 s, and none that takes long by nature ─▶ 503, and the task is cancelled

What the task held is given back when its own cancelling is through, which needs the part that stands still; nobody
waits for that.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware import HttpMiddleware
from app.api.problems import RETRY_AFTER_S, problem_response

ANSWER_WITHIN_S = 9.0
"""Callers are promised ten."""
LATE = (
    f"no answer within {ANSWER_WITHIN_S:g} s: a part of ours stands still, /readyz says which, or there is more to do "
    "than this machine can; try again"
)
_PATIENCE = "promidata.patience"


class Patience:
    """Of one request: whether its endpoint takes long by nature."""

    def __init__(self) -> None:
        self.is_endless = False


def takes_long(request: Request) -> None:
    """Let this request take as long as it does: it works through many rows, or asks somebody outside."""
    request.scope[_PATIENCE].is_endless = True


async def taking_long(request: Request) -> None:
    """The same as a dependency."""
    takes_long(request)


class AnswerInTime(HttpMiddleware):
    """ASGI middleware that answers 503 for an endpoint that says nothing for nine seconds."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See HttpMiddleware."""
        patience = scope[_PATIENCE] = Patience()
        began, late = False, False

        async def passed_on(message: Message) -> None:
            nonlocal began
            if not late:
                began = True
                await send(message)

        answering: asyncio.Task[Any] = asyncio.ensure_future(self._app(scope, receive, passed_on))
        try:
            await asyncio.wait([answering], timeout=ANSWER_WITHIN_S)
            if answering.done() or began or patience.is_endless:
                await answering
                return
        except asyncio.CancelledError:
            abandon(answering)
            raise
        late = True
        abandon(answering)
        await problem_response(503, LATE, headers={"Retry-After": RETRY_AFTER_S})(scope, receive, send)


def abandon(task: asyncio.Task[Any]) -> None:
    """Cancel a task that nobody waits for any more, whatever it ends with."""
    task.cancel()
    look_away(task)


def look_away(task: asyncio.Task[Any]) -> None:
    """Let a task end with whatever it ends with, without anybody there to take its error."""
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
