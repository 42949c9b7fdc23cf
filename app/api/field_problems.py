"""What is wrong with the fields of a request, field by field: which one, what it is, and what is possible.

Never what a field holds: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from app.views.refusals import refusal_in_words

FieldProblems = list[dict[str, str]]
"""`field` and `message` of each."""
NO_JSON = "is read as JSON only: send it with Content-Type: application/json"
_UNKNOWN = "extra_forbidden"


def problems_of(request: Request, error: RequestValidationError) -> FieldProblems:
    """The fields that a request got wrong; one that its body should not have is told with those that it can."""
    fields = problems_in(error, _members(request))
    if fields[0]["field"] == "body" and not _is_json(request.headers.get("content-type", "")):
        return [{"field": "body", "message": NO_JSON}]
    return fields


def problems_in(error: RequestValidationError, possible: Sequence[str] = ()) -> FieldProblems:
    """The same of the error alone."""
    return [{"field": _field(part["loc"]), "message": _message(part, possible)} for part in error.errors()]


def in_words(fields: FieldProblems) -> str:
    """The first of them as one line."""
    return "; ".join(f"{field['field']}: {field['message']}" for field in fields[:3])


def _message(part: dict[str, Any], possible: Sequence[str]) -> str:
    if part["type"] == _UNKNOWN:
        return "is not known here" + (f"; possible: {', '.join(possible)}" if possible else "")
    return refusal_in_words(part)


def _field(location: tuple[int | str, ...]) -> str:
    """`supplierId` rather than `body.supplierId`; the whole body, or a place in its text, is `body`."""
    if location[0] == "body" and (len(location) == 1 or isinstance(location[1], int)):
        return "body"
    parts = [str(part) for part in location]
    return ".".join(parts[1:] if len(parts) > 1 else parts)


def _members(request: Request) -> list[str]:
    """The members that the operation's body can have; no body of ours has objects in it."""
    body = getattr(request.scope.get("route"), "body_field", None)
    kinds: Iterable[Any] = () if body is None else (body.field_info.annotation, *get_args(body.field_info.annotation))
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _is_json(content_type: str) -> bool:
    media_type = content_type.split(";", maxsplit=1)[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
