"""A verb that answers a repeated call what the first one did, and goes on when its caller hangs up.

It does not go on when its caller was told that there is no answer: a part that stood still would start later what is
said not to have been started.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from structlog import get_logger

from app.api.answer_in_time import is_given_up, look_away
from app.api.auth import Caller
from app.api.problems import MEDIA_TYPE, ProblemError, problem_body, status_of
from app.errors import DatabaseUnavailable, RequestError
from app.persistence import audit, idempotency
from app.persistence.database import Connection, Database
from app.settings import Settings
from app.views.masking import mask_base

log = get_logger()

RENEWED_EVERY_S = 60.0
Answer = tuple[int, dict[str, Any]]
Work = Callable[[], Awaitable[Answer]]


async def answer_once(request: Request, caller: Caller, key: str | None, body: BaseModel, work: Work) -> JSONResponse:
    """Do `work` and answer; under a key that was used before, answer what was answered then.

    Raises:
        ProblemError: 422 for the same key with another body, 409 while the first call is under way.
    """
    state = request.app.state
    todo = (
        work
        if key is None
        else _Kept(state.services.database, state.settings, caller=caller.name, key=key, body=body, work=work)
    )
    task: asyncio.Task[Answer] = asyncio.ensure_future(todo())
    state.verbs.add(task)
    task.add_done_callback(state.verbs.discard)
    look_away(task)  # the caller may be gone by then
    try:
        status, answer = await asyncio.shield(task)
    except asyncio.CancelledError:
        if is_given_up(request):
            task.cancel()  # a 503 says that nothing was started: only a commit that is on its way could still do it
        raise
    return JSONResponse(answer, status, media_type=MEDIA_TYPE if status >= 400 else None)


class _Kept:
    """A piece of work whose answer is kept under a key."""

    def __init__(
        self, database: Database, settings: Settings, *, caller: str, key: str, body: BaseModel, work: Work
    ) -> None:
        self._database = database
        self._settings = settings
        self._caller = caller
        self._key = key
        self._body = hashlib.sha256(orjson.dumps(body.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)).digest()
        self._work = work

    async def __call__(self) -> Answer:
        first = await self._database.transact(lambda db: idempotency.claim_key(db, self._caller, self._key, self._body))
        return await self._do() if first is None else _replay(first)

    async def _do(self) -> Answer:
        renewing = asyncio.ensure_future(self._renew())
        try:
            return await self._done()
        finally:
            renewing.cancel()

    async def _renew(self) -> None:
        """A direct sync may work for longer than a key lasts that nobody renews."""
        while True:
            await asyncio.sleep(RENEWED_EVERY_S)
            await self._note(lambda db: idempotency.renew_key(db, self._caller, self._key))

    async def _done(self) -> Answer:
        try:
            status, answer = await self._work()
        except RequestError as error:
            # an answer like any other (API.md: a repeated call answers what the first one did), also when its reason is
            # gone: startSync's description says so
            status = status_of(error)
            answer = problem_body(status, mask_base(self._settings, str(error)))
            audit.mention(None, reason=answer["detail"])
        except BaseException:
            await self._note(lambda db: idempotency.release_key(db, self._caller, self._key))
            raise
        await self._note(lambda db: idempotency.keep_answer(db, self._caller, self._key, status, answer))
        return status, answer

    async def _note(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        """Write down what became of the call; what it did was done before, so its answer does not depend on this.

        A key that could not be written is taken to be abandoned after a while (`idempotency.ABANDONED`).
        """
        try:
            await self._database.transact(work)
        except DatabaseUnavailable as error:
            log.warning("an Idempotency-Key could not be written down", key=self._key, error=str(error))


def _replay(first: idempotency.FirstCall) -> Answer:
    if not first.same_body:
        raise ProblemError(422, "this Idempotency-Key was used with another body", errors=[])
    audit.mention(None, repeated=True)
    if first.status is None or first.answer is None:
        died = f"one that died with its process is forgotten after {idempotency.ABANDONED}"
        raise ProblemError(409, f"the first call with this Idempotency-Key is still under way; {died}")
    return first.status, first.answer
