"""What all views have in common: snake_case here, camelCase outside, an example for OpenAPI."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel

RunStatus = Literal["queued", "running", "cancelling", "completed", "completed_with_errors", "failed", "cancelled"]

Utc = Annotated[datetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
"""A time that PostgreSQL wrote as JSON: with the offset of the time zone that the server, or the role, is set to."""

LEFT_OUT: Any = None
"""The default of a member that may be left out. OpenAPI shows none: a generated client would send what it shows."""


class Out(BaseModel):
    """An answer: snake_case here, camelCase outside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


def example(**members: JsonValue) -> ConfigDict:
    """What a model adds to the configuration that it inherits: the example that OpenAPI shows."""
    return ConfigDict(json_schema_extra={"examples": [members]})


def epoch_ms(moment: datetime | None) -> int | None:
    """Milliseconds since the epoch, as callers of getJobStatus read times."""
    return None if moment is None else round(moment.timestamp() * 1000)


def shown_json(view: Out) -> dict[str, Any]:
    """A view as JSON values: camelCase, times as texts in UTC."""
    return view.model_dump(mode="json", by_alias=True)
