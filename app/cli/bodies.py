"""What was typed as the body that the API would read: one set of rules for both."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from app.errors import FieldInvalid
from app.views.bodies import In
from app.views.refusals import refusal_in_words

Body = TypeVar("Body", bound=In)


def body_of(model: type[Body], **given: object) -> Body:
    """The body with what was given, in the API's spelling.

    Raises:
        FieldInvalid: a part of it makes no sense; names the first one.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise FieldInvalid(".".join(map(str, first["loc"])), refusal_in_words(first)) from None
