"""A webhook and its deliveries, as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import JsonValue

from app.persistence.webhook_records import DeliveryRow, WebhookRow
from app.settings import Settings
from app.views.masking import mask_base
from app.views.runs import Run, run_out
from app.views.shapes import Out, example, shown_json

Event = Literal["run.finished", "catalogue.changed"]
EVENTS: tuple[Event, ...] = ("run.finished", "catalogue.changed")
WEBHOOK: dict[str, Any] = {
    "id": "0b9f3c52-7a41-4f0e-8d52-6f7f2f5c1a90",
    "url": "https://shop.example/hooks/promidata",
    "events": ["run.finished", "catalogue.changed"],
    "isActive": True,
    "deactivatedReason": None,
    "createdAt": "2026-01-05T03:00:00Z",
    "updatedAt": "2026-01-05T03:00:00Z",
}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  an example
DELIVERY: dict[str, Any] = {
    "id": "7d3d1e0c-2b7f-4c58-9b0f-0a4f8f1f7a11",
    "event": "run.finished",
    "runId": "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8",
    "state": "delivered",
    "attempts": 2,
    "nextAttemptAt": None,
    "responseStatus": 204,
    "error": None,
    "createdAt": "2026-01-05T03:02:35Z",
    "lastAttemptAt": "2026-01-05T03:02:41Z",
    "deliveredAt": "2026-01-05T03:02:41Z",
    "tries": [
        {"at": "2026-01-05T03:02:36Z", "status": 503, "error": "https://shop.example/hooks answered 503"},
        {"at": "2026-01-05T03:02:41Z", "status": 204, "error": None},
    ],
    "payload": {"type": "run.finished", "timestamp": "2026-01-05T03:02:35Z", "data": {"supplier": "A360"}},
}


class Webhook(Out):
    """A receiver; `deactivatedReason` says why it is told nothing more, if it was not an operator who said so."""

    model_config = example(**WEBHOOK)
    id: str
    url: str
    events: list[Event]
    is_active: bool
    deactivated_reason: str | None
    created_at: datetime
    updated_at: datetime


class CreatedWebhook(Webhook):
    """A new receiver and its secret, which is not shown again."""

    model_config = example(**WEBHOOK, secret=SECRET)
    secret: str


class Try(Out):
    """One request to the receiver: what it answered, or why there was no answer."""

    at: datetime
    status: int | None
    error: str | None


class Delivery(Out):
    """One message to one receiver; its id is sent as `webhook-id`, the same on each try."""

    model_config = example(**DELIVERY)
    id: str
    event: Event
    run_id: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    next_attempt_at: datetime | None
    response_status: int | None
    error: str | None
    created_at: datetime
    last_attempt_at: datetime | None
    delivered_at: datetime | None
    tries: list[Try]
    payload: JsonValue


def webhook_out(row: WebhookRow) -> Webhook:
    """A webhook's row as an answer."""
    return Webhook.model_validate(row, from_attributes=True)


def delivery_out(settings: Settings, row: DeliveryRow) -> Delivery:
    """A delivery's row as an answer; what is settled has no next attempt."""
    pending = row.state == "pending"
    shown = {name: getattr(row, name) for name in Delivery.model_fields if name not in {"payload", "next_attempt_at"}}
    payload = orjson.loads(message_of(settings, row.event, row.snapshot, row.payload))
    return Delivery.model_validate(
        {**shown, "next_attempt_at": row.next_attempt_at if pending else None, "payload": payload}
    )


def message_of(settings: Settings, event: str, snapshot: Mapping[str, Any] | None, kept: str | None) -> str:
    """The text of a message: the one that is kept, else what the API shows of the run that ended.

    A text that a version before this one wrote was never masked; masking one that was changes nothing.
    """
    if kept is not None or snapshot is None:
        return mask_base(settings, kept or "{}")
    run = run_out(settings, snapshot)
    data = _run_finished(run, snapshot) if event == "run.finished" else _catalogue_changed(settings, run, snapshot)
    return orjson.dumps({"type": event, "timestamp": shown_json(run)["finishedAt"], "data": data}).decode()


def _run_finished(run: Run, snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """The run, and whether its supplier is failing since, or again well; a cancelled run says nothing about that."""
    failed_before = bool(snapshot["failed_before"])
    failing = run.status == "failed" or (run.status == "cancelled" and failed_before)
    state = {"supplierState": "failing" if failing else "ok", "supplierStateChanged": failing != failed_before}
    return {**shown_json(run), **state}


def _catalogue_changed(settings: Settings, run: Run, snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Where to read on: everything that the run changed is numbered after `since`."""
    since = snapshot["changes_since"]
    return {
        "runId": run.id,
        "supplier": run.supplier,
        "since": since,
        "variants": run.variants.model_dump(exclude={"unchanged"}),
        "changes": f"{_prefix(settings)}/api/v1/changes?since={since}",
    }


def _prefix(settings: Settings) -> str:
    """The path that the service is reached below, as far as a worker knows it."""
    return urlsplit(settings.public_url or "").path.rstrip("/") or settings.root_path
