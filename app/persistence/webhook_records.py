"""Reading and editing webhooks, and the log of what was delivered to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class WebhookRow(msgspec.Struct, frozen=True):
    """A receiver as an operator sees it; its secret is not among what is read."""

    id: str
    url: str
    events: list[str]
    is_active: bool
    deactivated_reason: str | None
    created_at: datetime
    updated_at: datetime


class DeliveryRow(msgspec.Struct, frozen=True):
    """One message to one receiver, and what came of it so far."""

    id: str
    number: int
    webhook_id: str
    event: str
    run_id: str
    snapshot: dict[str, Any] | None
    """The run as it ended; None for a message that a version before this one wrote."""
    payload: str | None
    """The text that is sent; None until the first try."""
    state: str
    attempts: int
    next_attempt_at: datetime
    response_status: int | None
    error: str | None
    tries: list[dict[str, Any]]
    created_at: datetime
    last_attempt_at: datetime | None
    delivered_at: datetime | None


WEBHOOK = """CAST(id AS text) AS id, url, events, is_active, deactivated_reason, created_at, updated_at"""
DELIVERY = """CAST(id AS text) AS id, number, CAST(webhook_id AS text) AS webhook_id, event,
    CAST(run_id AS text) AS run_id, snapshot, payload, state, attempts, next_attempt_at, response_status, error, tries,
    created_at, last_attempt_at, delivered_at"""


async def insert_webhook(
    db: AsyncConnection, *, url: str, events: Sequence[str], secret: str, is_active: bool
) -> WebhookRow:
    """Add a webhook; its secret is not read again but to sign."""
    rows = await db.execute(
        text(f"""
        INSERT INTO webhooks (id, url, events, secret, is_active)
        VALUES (gen_random_uuid(), :url, CAST(:events AS text[]), :secret, :is_active) RETURNING {WEBHOOK}"""),
        {"url": url, "events": list(events), "secret": secret, "is_active": is_active},
    )
    return WebhookRow(**rows.mappings().one())


async def find_webhook(db: AsyncConnection, webhook_id: str, *, held: bool = False) -> WebhookRow | None:
    """One webhook; `held` until the transaction ends."""
    rows = await db.execute(
        text(f"SELECT {WEBHOOK} FROM webhooks WHERE id = CAST(:id AS uuid) {'FOR UPDATE' if held else ''}"),
        {"id": webhook_id},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else WebhookRow(**row)


async def list_webhooks(db: AsyncConnection, *, after: tuple[datetime, str] | None, limit: int) -> list[WebhookRow]:
    """A page of webhooks, the newest first, from after (`created_at`, `id`)."""
    where = (
        "" if after is None else "WHERE (created_at, id) < (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid))"
    )
    position = {} if after is None else {"after_at": after[0], "after_id": after[1]}
    rows = await db.execute(
        text(f"SELECT {WEBHOOK} FROM webhooks {where} ORDER BY created_at DESC, id DESC LIMIT :limit"),
        {"limit": limit, **position},
    )
    return [WebhookRow(**row) for row in rows.mappings()]


EDITABLE = frozenset({"url", "events", "is_active"})


async def update_webhook(db: AsyncConnection, webhook_id: str, values: Mapping[str, object]) -> WebhookRow | None:
    """Change what is given; one that is activated again forgets why it was not. None when there is no such webhook."""
    sets = "".join(f", {name} = :{name}" for name in sorted(set(values) & EDITABLE))
    if values.get("is_active"):
        sets += ", deactivated_reason = NULL"
    rows = await db.execute(
        text(f"""
        UPDATE webhooks SET updated_at = clock_timestamp(){sets}
        WHERE id = CAST(:id AS uuid) RETURNING {WEBHOOK}"""),
        {**values, "id": webhook_id},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else WebhookRow(**row)


async def delete_webhook(db: AsyncConnection, webhook_id: str) -> WebhookRow | None:
    """Delete a webhook with its deliveries; None when there is no such webhook."""
    rows = await db.execute(
        text(f"DELETE FROM webhooks WHERE id = CAST(:id AS uuid) RETURNING {WEBHOOK}"), {"id": webhook_id}
    )
    row = rows.mappings().one_or_none()
    return None if row is None else WebhookRow(**row)


async def list_deliveries(db: AsyncConnection, webhook_id: str, *, before_number: int, limit: int) -> list[DeliveryRow]:
    """A page of a webhook's deliveries, the newest first, from before `before_number`."""
    rows = await db.execute(
        text(f"""
        SELECT {DELIVERY} FROM deliveries WHERE webhook_id = CAST(:id AS uuid) AND number < :before
        ORDER BY number DESC LIMIT :limit"""),
        {"id": webhook_id, "before": before_number, "limit": limit},
    )
    return [DeliveryRow(**row) for row in rows.mappings()]


async def hold_delivery(db: AsyncConnection, webhook_id: str, delivery_id: str) -> DeliveryRow | None:
    """Read and hold one delivery of a webhook."""
    rows = await db.execute(
        text(f"""
        SELECT {DELIVERY} FROM deliveries WHERE webhook_id = CAST(:webhook_id AS uuid) AND id = CAST(:id AS uuid)
        FOR UPDATE"""),
        {"webhook_id": webhook_id, "id": delivery_id},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else DeliveryRow(**row)


async def reopen_delivery(db: AsyncConnection, delivery_id: str) -> DeliveryRow:
    """Let a delivery that this transaction holds be tried at once, with all its attempts, under the id that it has.

    A try that is under way keeps its claim, and knows by the attempts that it was asked for (`note_verdict`).
    """
    rows = await db.execute(
        text(f"""
        UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = clock_timestamp(), error = NULL
        WHERE id = CAST(:id AS uuid) RETURNING {DELIVERY}"""),
        {"id": delivery_id},
    )
    return DeliveryRow(**rows.mappings().one())


async def secret_of(db: AsyncConnection, webhook_id: str) -> str | None:
    """What a webhook's messages are signed with; None when there is no such webhook."""
    secret: str | None = await db.scalar(
        text("SELECT secret FROM webhooks WHERE id = CAST(:id AS uuid)"), {"id": webhook_id}
    )
    return secret
