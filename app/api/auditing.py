"""What changes something leaves an entry in the audit trail: every route that is not for reading does, by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from app.api.field_problems import in_words, problems_in
from app.api.problems import ProblemError, status_of
from app.errors import PromidataSyncError
from app.persistence.audit import Act, Result, Via
from app.sync.operating import acting
from app.sync.services import Services

READING = frozenset({"GET", "HEAD", "OPTIONS"})


@asynccontextmanager
async def audited(request: Request, *, actor: str, role: str, via: Via, action: str) -> AsyncIterator[Act]:
    """The block answers a request that is to change something; its target is what the path names last."""
    services: Services = request.app.state.services
    target = next(reversed(list(map(str, request.path_params.values()))), None)
    address = None if request.client is None else request.client.host
    act = Act(actor, role, via, action, target, address, detail={})
    async with acting.audited(services.database, services.settings, act, _told):
        yield act


def _told(error: Exception) -> acting.Told:
    """As `acting.told`, of the API's own errors, too."""
    match error:
        case ProblemError():
            return _result(error.status), error.detail
        case RequestValidationError():
            return "refused", in_words(problems_in(error))
        case PromidataSyncError():
            return _result(status_of(error)), str(error)
        case _:
            return "failed", type(error).__name__


def note_status(act: Act, status: int) -> None:
    """An answer that was kept says by its status alone that something was refused."""
    if status >= 400:
        act.result = _result(status)
        act.detail["status"] = status


def _result(status: int) -> Result:
    return "failed" if status >= 500 else "refused"
