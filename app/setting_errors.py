"""What is said of settings that make no sense: the variable that was set, and what it may be, in plain words.

pydantic's errors + the names that are set ─▶ one line; no value of a secret, no word of pydantic's
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from app.errors import SettingsError

LACKING = "setting_lacking"
SHOWN_CHARS = 30
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""How an ASGI application tells its server something."""


@contextmanager
def ending_in_one_line() -> Iterator[None]:
    """For commands of others (uvicorn, arq, alembic), which would show a traceback of ours.

    Raises:
        SystemExit: a setting makes no sense; the interpreter prints which and ends with exit code 1.
    """
    try:
        yield
    except SettingsError as error:
        raise SystemExit(f"promidata-sync: {error}") from None


def starting_in_one_line(send: Send) -> Send:
    """For servers of others, which show a failed start as a traceback: where a setting is refused, that alone."""

    async def tell(message: MutableMapping[str, Any]) -> None:
        error = sys.exception()
        if message["type"] == "lifespan.startup.failed" and isinstance(error, SettingsError):
            message["message"] = f"promidata-sync: {error}"
        await send(message)

    return tell


def lacking(given: str, *needed: str, hint: str = "") -> PydanticCustomError:
    """The error of a field that needs others: `given` and `needed` are fields, told as the variables in use."""
    return PydanticCustomError(LACKING, "{given} needs {needed}", {"given": given, "needed": needed, "hint": hint})


def explain(error: ValidationError, model: type[BaseModel], variables: Collection[str]) -> str:
    """Everything that is wrong, in one line; `variables` are the names that are set, in upper case."""
    told = Explaining(model, variables)
    return "; ".join(dict.fromkeys(told.line(part) for part in error.errors()))


def variables_of(name: str, field: FieldInfo) -> list[str]:
    """The variables that a field is read from, the first one that is set winning."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    return [str(choice).upper() for choice in choices]


class Explaining:
    """The words for one attempt to read the settings."""

    def __init__(self, model: type[BaseModel], variables: Collection[str]) -> None:
        self._model = model
        self._set = variables
        self._fields = {
            spelling: name
            for name, field in model.model_fields.items()
            for spelling in (name.upper(), *variables_of(name, field))
        }

    def line(self, error: ErrorDetails) -> str:
        """What one error says."""
        if error["type"] == LACKING:
            return self._lacking(error["ctx"])
        name = self._fields.get(str(error["loc"][0]).upper()) if error["loc"] else None
        if error["type"] == "value_error" or name is None:
            said = error["msg"].removeprefix("Value error, ")
            return f"{self._variable(name)}: {said}" if name else said
        shape = self._model.model_json_schema(by_alias=False)["properties"][name]
        possible = in_words(shape)
        return f"{self._variable(name)}: should be {possible}" + _instead(shape, error["input"])

    def _lacking(self, context: Mapping[str, Any]) -> str:
        given = self._variable(context["given"])
        family = given.partition("_")[0]
        needed = [self._variable(name, family) for name in context["needed"]]
        verb = "are" if len(needed) > 1 else "is"
        return f"{given} is set, so {' and '.join(needed)} {verb} needed too{context['hint']}"

    def _variable(self, name: str, family: str = "") -> str:
        """The variable that gave the field, or would in this family (`S3`, `R2`)."""
        spellings = variables_of(name, self._model.model_fields[name])
        in_use = (spelling for spelling in spellings if spelling in self._set)
        akin = (spelling for spelling in spellings if family and spelling.startswith(f"{family}_"))
        return next(in_use, None) or next(akin, spellings[0])


def in_words(shape: Mapping[str, Any]) -> str:
    """What a JSON schema lets through.

    >>> in_words({"type": "integer", "minimum": 1, "maximum": 100})
    'a whole number from 1 to 100'
    >>> in_words({"type": "number", "exclusiveMinimum": 0})
    'a number above 0'
    """
    shape = _without_null(shape)
    if "enum" in shape:
        return f"one of {', '.join(map(str, shape['enum']))}"
    kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    return kinds.get(shape.get("type", ""), "a text") + _bounds(shape)


def _without_null(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((part for part in shape.get("anyOf", ()) if part.get("type") != "null"), shape)


def _bounds(shape: Mapping[str, Any]) -> str:
    least, most, above = (shape.get(name) for name in ("minimum", "maximum", "exclusiveMinimum"))
    if least is not None and most is not None:
        return f" from {_short(least)} to {_short(most)}"
    if above is not None:
        return f" above {_short(above)}" + ("" if most is None else f", at most {_short(most)}")
    return "" if least is None else f" of {_short(least)} or more"


def _short(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def _instead(shape: Mapping[str, Any], given: object) -> str:
    """What was there in place of a number, a switch or a choice; a text may be a secret."""
    shape = _without_null(shape)
    if "enum" not in shape and shape.get("type") not in {"integer", "number", "boolean"}:
        return ""
    text = str(given)
    return f", not {json.dumps(text[:SHOWN_CHARS] + '…' * (len(text) > SHOWN_CHARS), ensure_ascii=False)}"
