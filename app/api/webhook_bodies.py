"""The bodies of requests about webhooks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool

from app.api.schemas import In, Storable, body_example
from app.views.webhooks import EVENTS, WEBHOOK, Event

Url = Annotated[str, Field(min_length=1, max_length=2_000, examples=["https://shop.example/hooks/promidata"]), Storable]
Events = Annotated[list[Event], Field(min_length=1, max_length=2)]


class NewWebhook(In):
    """A receiver to be added."""

    model_config = body_example(url=WEBHOOK["url"], events=["run.finished"])
    url: Url
    events: Events = Field(default_factory=lambda: list(EVENTS))
    is_active: StrictBool = True


class WebhookChanges(In):
    """What to change; a field that is left out stays."""

    model_config = body_example(isActive=False)
    url: Url = Field(default_factory=str)
    events: Events = Field(default_factory=list)
    is_active: StrictBool = True
