"""What is asked for: the bodies of requests, the same whether they come over HTTP, from a form or were typed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool
from pydantic.alias_generators import to_camel

from app.views.shapes import LEFT_OUT, example
from app.views.webhooks import EVENTS, WEBHOOK, Event


class In(BaseModel):
    """A body: camelCase, and nothing that is not known."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=False, extra="forbid", frozen=True)

    def as_sent(self) -> dict[str, Any]:
        """What was given, without what was left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("should not hold NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("should be valid Unicode") from None
    return text


def _reachable(code: str) -> str:
    if code in {".", ".."}:
        raise ValueError("should be neither . nor ..: in an address they lead elsewhere")
    return code


Storable = AfterValidator(_storable)
"""A text that PostgreSQL can take."""
CODE_PATTERN = r"^[^/\s]+$"
Code = Annotated[str, Field(min_length=1, max_length=100, pattern=CODE_PATTERN), Storable, AfterValidator(_reachable)]
Name = Annotated[str, Field(min_length=1, max_length=300), Storable]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
"""A JSON number: neither `true` nor `"0.5"` is one."""
Url = Annotated[str, Field(min_length=1, max_length=2_000, examples=["https://shop.example/hooks/promidata"]), Storable]
Events = Annotated[list[Event], Field(min_length=1, max_length=2)]


class NewSupplier(In):
    """A supplier to be added."""

    model_config = example(
        code="A360", name="Premo BV", schedule="30 3 * * *", timeZone="Europe/Amsterdam", removalGuardShare=0.2
    )
    code: Code
    name: Name | None = None
    document_id: Code | None = None
    is_active: StrictBool = True
    schedule: Name | None = Field(None, description="A cron expression of five fields, or null.")
    time_zone: Name = "UTC"
    removal_guard_share: Share | None = None


class SupplierChanges(In):
    """What to change; a field that is left out stays."""

    model_config = example(isActive=True, schedule="0 5 * * 1-5", timeZone="Europe/Amsterdam")
    name: Name = LEFT_OUT
    is_active: StrictBool = LEFT_OUT
    schedule: Name | None = LEFT_OUT
    time_zone: Name = LEFT_OUT
    removal_guard_share: Share | None = Field(LEFT_OUT, description="Null for the default.")


class NewWebhook(In):
    """A receiver to be added."""

    model_config = example(url=WEBHOOK["url"], events=["run.finished"])
    url: Url
    events: Events = Field(default_factory=lambda: list(EVENTS))
    is_active: StrictBool = True


class WebhookChanges(In):
    """What to change; a field that is left out stays."""

    model_config = example(isActive=False)
    url: Url = LEFT_OUT
    events: Events = LEFT_OUT
    is_active: StrictBool = LEFT_OUT
