"""A query parameter that an operation does not know is refused by name: a misspelt filter would list everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, get_args

from fastapi import Request
from fastapi.dependencies.models import Dependant

from app.api.problems import ProblemError

MOST_NAMED = 10
SHOWN_CHARS = 100


class QueryNames:
    """The query parameters of one operation."""

    def __init__(self, dependant: Dependant) -> None:
        self._several = _declared(dependant)

    def look(self, request: Request) -> None:
        """Look at a request's parameters by name.

        Raises:
            ProblemError: 422 for names that are not known, and for those that were given twice and can be once.
        """
        if not request.scope["query_string"]:
            return
        given = Counter(name for name, _ in request.query_params.multi_items())
        problems = [
            {"field": name[:SHOWN_CHARS], "message": message}
            for name, times in given.items()
            if (message := self._complaint(name, times)) is not None
        ][:MOST_NAMED]
        if problems:
            detail = "; ".join(f"{problem['field']}: {problem['message']}" for problem in problems[:3])
            raise ProblemError(422, detail, errors=problems)

    def _complaint(self, name: str, times: int) -> str | None:
        if name not in self._several:
            possible = ", ".join(self._several)
            return f"is not known here; possible: {possible}" if possible else "is not known here, nor is any other"
        if times > 1 and not self._several[name]:
            return f"is there {times} times: give it once"
        return None


def _declared(dependant: Dependant) -> Mapping[str, bool]:
    """The names that an operation and what it depends on declare, and whether each takes several values."""
    names = {field.alias: _takes_several(field.field_info.annotation) for field in dependant.query_params}
    for part in dependant.dependencies:
        names |= _declared(part)
    return names


def _takes_several(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is list or any(map(_takes_several, get_args(annotation)))
