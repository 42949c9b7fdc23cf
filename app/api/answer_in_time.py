"""An answer in time, whatever stands still behind it: a frozen server neither answers nor breaks a connection.

    request ─▶ endpoint, in a task of its own ─▶ answered ──────────────▶ its answer
                   └ nothing within 9 s, and none that takes long by nature ─▶ 503, and the task is cancelled;
                                              408 where it still waits for the request's body

What the task held is given back when its own cancelling is through, which needs the part that stands still; nobody
waits for that.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware import HttpMiddleware
from app.api.problems import RETRY_AFTER_S, problem_response

ANSWER_WITHIN_S = 9.0
"""Callers are promised ten."""
ASKED_WITHIN_S = 60.0
"""Of what asks the feed, which has its own, longer times; DOCUMENT_TIMEOUT_S and the like hold for syncs."""
LATE = (
    "no answer within {:g} s: a part of ours stands still, /readyz says which, or there is more to do than this "
    "machine can; try again"
)
FEED_LATE = "no answer within {:g} s: the feed, or a part of ours (/readyz says which), stands still; try again"
NO_BODY = "the body did not come within {:g} s"
_PATIENCE = "promidata.patience"


class Patience:
    """How long one request's endpoint may say nothing, in seconds; None for as long as it does."""

    def __init__(self) -> None:
        self.within_s: float | None = ANSWER_WITHIN_S
        self.is_over = False
        """Another answer was given in the endpoint's place."""


def takes_long(request: Request, within_s: float | None = None) -> None:
    """Let this request take so long: it works through many rows, a statement each in time, or asks somebody outside."""
    request.scope[_PATIENCE].within_s = within_s


async def taking_long(request: Request) -> None:
    """The same as a dependency."""
    takes_long(request)


async def asking_the_feed(request: Request) -> None:
    """As a dependency: a call that is not done before the feed has answered."""
    takes_long(request, ASKED_WITHIN_S)


def is_given_up(request: Request) -> bool:
    """Whether its caller was told that there is no answer."""
    return bool(request.scope[_PATIENCE].is_over)


class _Body:
    """A request's body on its way to the endpoint."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_over = False
        self.is_missing = False
        """Whether a part of it is being waited for."""

    async def receive(self) -> Message:
        """The next message, as the server has it."""
        self.is_missing = not self._is_over
        message = await self._receive()
        self._is_over = not message.get("more_body", False)
        self.is_missing = False
        return message


class AnswerInTime(HttpMiddleware):
    """ASGI middleware that answers in the place of an endpoint that says nothing within its time: see above."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See HttpMiddleware."""
        patience = scope[_PATIENCE] = Patience()
        began, late, body = False, False, _Body(receive)

        async def passed_on(message: Message) -> None:
            nonlocal began
            if not late:
                began = True
                await send(message)

        answering: asyncio.Task[Any] = asyncio.ensure_future(self._app(scope, body.receive, passed_on))
        try:
            await asyncio.wait([answering], timeout=ANSWER_WITHIN_S)
            if patience.within_s is not None and patience.within_s > ANSWER_WITHIN_S and not began:
                await asyncio.wait([answering], timeout=patience.within_s - ANSWER_WITHIN_S)
            if answering.done() or began or patience.within_s is None:
                await answering
                return
        except asyncio.CancelledError:
            abandon(answering)
            raise
        late = patience.is_over = True
        abandon(answering)
        await _refusal(body, patience.within_s)(scope, receive, send)


def _refusal(body: _Body, within_s: float) -> Response:
    if body.is_missing:
        return problem_response(408, NO_BODY.format(within_s))
    late = (LATE if within_s == ANSWER_WITHIN_S else FEED_LATE).format(within_s)
    return problem_response(503, late, headers={"Retry-After": RETRY_AFTER_S})


def abandon(task: asyncio.Task[Any]) -> None:
    """Cancel a task that nobody waits for any more, whatever it ends with."""
    task.cancel()
    look_away(task)


def look_away(task: asyncio.Task[Any]) -> None:
    """Let a task end with whatever it ends with, without anybody there to take its error."""
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
