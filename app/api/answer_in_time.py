"""An answer in time, whatever stands still behind it: a frozen server neither answers nor breaks a connection.

    request ─▶ endpoint, in a task of its own ─▶ answered ──────────────▶ its answer
                   └ nothing within 9 s, and none that takes long by nature ─▶ 503, and the task is cancelled;
                                              408 where it still waits for the request's body
                   └ cancelled by the server, which is being stopped ───────▶ 503

A call that asks the feed takes as long as the feed goes on sending, 60 s at most: 503 once nothing came for 9 s.

What the task held is given back when its own cancelling is through, which needs the part that stands still; nobody
waits for that.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware import HttpMiddleware
from app.api.problems import RETRY_AFTER_S, problem_response
from app.signs_of_life import listen

ANSWER_WITHIN_S = 9.0
"""Callers are promised ten."""
ASKED_WITHIN_S = 60.0
"""Of what asks the feed, while it goes on sending; DOCUMENT_TIMEOUT_S and the like are longer and hold for syncs."""
LATE = (
    "no answer within {:g} s: a part of ours stands still, /readyz says which, or there is more to do than this "
    "machine can; try again"
)
FEED_STILL = (
    "nothing came from the feed for {:g} s: it stands still, or asked for a pause, or a part of ours stands still "
    "(/readyz says which); try again"
)
FEED_SLOW = "no answer within {:g} s: the feed goes on sending, but too slowly to be waited for; try again"
STOPPED = "the service is being stopped, and did not come to an answer before that; try again"
NO_BODY = "the body did not come within {:g} s"
_PATIENCE = "promidata.patience"


class Patience:
    """How long one request's endpoint may say nothing."""

    def __init__(self) -> None:
        self.within_s: float | None = ANSWER_WITHIN_S
        """In all; None for as long as it takes."""
        self.is_over = False
        """Another answer was given in the endpoint's place."""
        self._began_s = self._heard_s = time.monotonic()

    def hear(self) -> None:
        """What the endpoint waits for goes on."""
        self._heard_s = time.monotonic()

    def left_s(self) -> float | None:
        """For how much longer it is waited if nothing is heard; None without end, 0 or less when it is over."""
        if self.within_s is None:
            return None
        return min(self._began_s + self.within_s, self._heard_s + ANSWER_WITHIN_S) - time.monotonic()

    def why_over(self) -> str:
        """What the caller is told when nothing is left."""
        if self.within_s == ANSWER_WITHIN_S:
            return LATE.format(ANSWER_WITHIN_S)
        if self._heard_s + ANSWER_WITHIN_S <= time.monotonic():
            return FEED_STILL.format(ANSWER_WITHIN_S)
        return FEED_SLOW.format(self.within_s)


def takes_long(request: Request) -> None:
    """Let this request take as long as it does: it works through many rows, a statement each in time."""
    request.scope[_PATIENCE].within_s = None


def asks_the_feed(request: Request) -> None:
    """Let this request, in whose task this is called, take longer while it hears of the feed (`sign_of_life`)."""
    patience = request.scope[_PATIENCE]
    patience.within_s = ASKED_WITHIN_S
    listen(patience.hear)


async def taking_long(request: Request) -> None:
    """The same as a dependency."""
    takes_long(request)


async def asking_the_feed(request: Request) -> None:
    """As a dependency: a call that is not done before the feed has answered."""
    asks_the_feed(request)


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
            while not (answering.done() or began) and (left_s := patience.left_s()) is not None and left_s > 0:
                await asyncio.wait([answering], timeout=left_s)
            if answering.done() or began or patience.within_s is None:
                await answering
                return
            refusal = _refusal(body, patience)
        except asyncio.CancelledError:  # by the server alone, whose grace period is over
            if began:
                abandon(answering)
                raise
            refusal = _unavailable(STOPPED)
        late = patience.is_over = True
        abandon(answering)
        await refusal(scope, receive, send)


def _refusal(body: _Body, patience: Patience) -> Response:
    if body.is_missing:
        return problem_response(408, NO_BODY.format(patience.within_s))
    return _unavailable(patience.why_over())


def _unavailable(why: str) -> Response:
    return problem_response(503, why, headers={"Retry-After": RETRY_AFTER_S})


def abandon(task: asyncio.Task[Any]) -> None:
    """Cancel a task that nobody waits for any more, whatever it ends with."""
    task.cancel()
    look_away(task)


def look_away(task: asyncio.Task[Any]) -> None:
    """Let a task end with whatever it ends with, without anybody there to take its error."""
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
