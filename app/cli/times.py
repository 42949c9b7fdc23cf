"""Times that are typed, for every option that takes one: what the API takes, and what commands print."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import typer

SHAPES = "2026-01-05, '2026-01-05 03:00:00' or 2026-01-05T03:00:00Z"


def time_option(help_text: str) -> Any:
    """An option whose value is a time."""
    said = f"{help_text}, such as 2026-01-05 or 2026-01-05T03:00:00Z; UTC without an offset."
    return typer.Option(parser=_moment, metavar="TIME", help=said)


def _moment(typed: str) -> datetime:
    from pydantic import TypeAdapter, ValidationError

    from app.views.moments import Moment

    try:
        moment: datetime = TypeAdapter(Moment).validate_python(typed)
    except ValidationError:
        raise typer.BadParameter(f"{typed!r} is no time such as {SHAPES}") from None
    return moment
