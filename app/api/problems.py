"""Errors as RFC 9457 problem documents: the API's door translates the error tree into statuses.

NotFound 404 · Conflict 409 · Invalid 422 · an outage 503 · the origin's failures 502 · everything else 500
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from structlog import get_logger

from app.api.field_problems import in_words, problems_of
from app.errors import (
    Conflict,
    FieldInvalid,
    Invalid,
    NotFound,
    OutageError,
    PermanentError,
    PromidataSyncError,
    SettingsError,
    SeveralSuppliers,
    TransientError,
)
from app.views.masking import mask_base

log = get_logger()

MEDIA_TYPE = "application/problem+json"
STATUSES: tuple[tuple[type[PromidataSyncError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (Invalid, 422),
    (OutageError, 503),
    (SettingsError, 503),
    (TransientError, 502),
    (PermanentError, 502),
)
RETRY_AFTER_S = "5"
UNREADABLE = "the body cannot be read: it should be JSON in UTF-8"
"""What the framework calls a 400, and means bytes that are no text or nest too deeply."""


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


class ProblemError(Exception):
    """An error of the API itself, with what its problem document says beside the usual members."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        super().__init__(status, detail, headers, members)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.members = members


def problem_body(status: int, detail: str, **members: object) -> dict[str, Any]:
    """A problem document; `members` are added to the usual ones."""
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}


def problem_response(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
) -> JSONResponse:
    """A problem document as an answer."""
    body = problem_body(status, detail, **members)
    return JSONResponse(body, status, dict(headers or {}), media_type=MEDIA_TYPE)


def status_of(error: PromidataSyncError) -> int:
    """The status that an error of the tree is answered with."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def add_handlers(app: FastAPI) -> None:
    """Answer every error with a problem document, also unknown methods; unknown paths have a handler of their own."""
    app.add_exception_handler(ProblemError, _own)
    app.add_exception_handler(SeveralSuppliers, _of_several_suppliers)
    app.add_exception_handler(PromidataSyncError, _of_the_tree)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _of_the_framework)
    app.add_exception_handler(Exception, _unexpected)


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """An operation's error answers for OpenAPI, each with an example; what any call can meet is among them."""
    return {status: problem_answer(status) | HEADERS.get(status, {}) for status in sorted({*statuses, *OF_ANY_CALL})}


def problem_answer(status: int) -> dict[str, Any]:
    """An error answer for OpenAPI; `Problem` is added to its components by `app.main`."""
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": problem_body(status, EXAMPLES[status])}
    return {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: content}}


OF_ANY_CALL = (400, 401, 413, 422, 431, 503)
HEADERS: dict[int, dict[str, Any]] = {
    401: {"headers": {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}}},
    503: {"headers": {"Retry-After": {"description": "In seconds.", "schema": {"type": "integer"}}}},
}
EXAMPLES = {
    400: "the address has the byte 0xC3, which HTTP does not take as it is: percent-encode the address (%C3)",
    401: "a key is needed: send it as Authorization: Bearer … or X-API-Key",
    403: "this needs the role operator; the key ci has viewer",
    404: "there is no supplier A999",
    408: "the body did not come within 9 s",
    409: "supplier A360 is inactive: activate it to sync it",
    410: "changes up to 1200 are forgotten: read the products again and follow from head",
    412: "this is not what If-Match names: it was changed since; read it again, and send its ETag of now",
    413: "the body is larger than 1048576 bytes",
    422: "the request makes no sense as it is; see errors",
    431: "the header block is larger than 65536 bytes or has more than 1000 fields",
    502: "the origin answered 500",
    503: "Redis at redis://127.0.0.1:6379: it refuses writes",
}


async def _own(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return problem_response(error.status, error.detail, headers=error.headers, **error.members)


async def _of_several_suppliers(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SeveralSuppliers)
    detail = f"several suppliers have {error.sku}: say ?supplier= {' or '.join(error.suppliers)}"
    return problem_response(409, detail, suppliers=error.suppliers)


async def _of_the_tree(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PromidataSyncError)
    status = status_of(error)
    if status == 500:
        log.error("request failed", path=request.url.path, exc_info=error)
    headers = {"Retry-After": RETRY_AFTER_S} if status == 503 else None
    settings = request.app.state.settings
    fields = (
        [{"field": error.field, "message": mask_base(settings, error.why)}] if isinstance(error, FieldInvalid) else []
    )
    members: dict[str, object] = {"errors": fields} if status == 422 else {}
    return problem_response(status, mask_base(settings, str(error)), headers=headers, **members)


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = problems_of(request, error)
    return problem_response(422, in_words(fields), errors=fields)


async def _of_the_framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        return problem_response(422, UNREADABLE, errors=[{"field": "body", "message": UNREADABLE}])
    if error.status_code == 405:
        said = f"{request.method} is not possible at {request.url.path}"
        return problem_response(405, said, headers={"Allow": ", ".join(_possible_at(request))})
    return problem_response(error.status_code, str(error.detail), headers=error.headers)


def _possible_at(request: Request) -> list[str]:
    """The methods of all routes at this path, not of the first alone; HEAD is wherever GET is (app/api/head.py)."""
    routes: Sequence[Route] = request.app.state.routes
    here = [route.methods or () for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for possible in here for method in possible}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request failed", path=request.url.path, exc_info=error)
    return problem_response(500, "something went wrong on our side; the log says what")
