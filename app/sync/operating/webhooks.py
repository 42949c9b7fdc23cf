"""What an operator does to webhooks and their deliveries, each in one transaction with its audit entry.

Of a webhook's address the audit trail has the host alone: the rest may hold a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from app.errors import AddressRefused, Conflict, FieldInvalid, NotFound
from app.notify.signing import new_secret
from app.persistence import audit, webhook_records
from app.persistence.database import Connection, Database
from app.persistence.webhook_records import DeliveryRow, WebhookRow
from app.sync.services import Services
from app.views.bodies import NewWebhook, WebhookChanges
from app.views.webhooks import CreatedWebhook, Event, webhook_out


async def create_webhook(services: Services, body: NewWebhook) -> CreatedWebhook:
    """Add one; its secret is told here and never again.

    Raises:
        FieldInvalid: its address may not be asked.
    """
    await _refuse_address(services, body.url)
    secret = new_secret()

    async def insert(db: Connection) -> WebhookRow:
        webhook = await webhook_records.insert_webhook(
            db, url=body.url, events=_once_each(body.events), secret=secret, is_active=body.is_active
        )
        await audit.note(db, "createWebhook", webhook.id, host=_host(webhook), events=webhook.events)
        return webhook

    row = await services.database.transact(insert)
    return CreatedWebhook(**webhook_out(row).model_dump(), secret=secret)


async def update_webhook(
    services: Services, webhook_id: str, body: WebhookChanges, *, refuse: Callable[[WebhookRow], None] | None = None
) -> WebhookRow:
    """Change what the body names; what waits for one that is not active any more is sent when it is active again.

    `refuse` sees it as it is, which nobody changes meanwhile, and raises where it is not to be changed.

    Raises:
        NotFound: there is no such webhook.
        FieldInvalid: its new address may not be asked.
    """
    values = body.model_dump(exclude_unset=True)
    if "url" in values:
        await _refuse_address(services, body.url)
    if "events" in values:
        values["events"] = _once_each(body.events)

    async def update(db: Connection) -> WebhookRow | None:
        await _look(db, webhook_id, refuse)
        webhook = await webhook_records.update_webhook(db, webhook_id, values)
        if webhook is not None:
            await audit.note(db, "updateWebhook", webhook_id, host=_host(webhook), changed=sorted(values))
        return webhook

    return there(await services.database.transact(update), webhook_id)


async def delete_webhook(
    database: Database, webhook_id: str, *, refuse: Callable[[WebhookRow], None] | None = None
) -> WebhookRow:
    """Delete it with its deliveries; returns what it was. `refuse` as in `update_webhook`.

    Raises:
        NotFound: there is no such webhook.
    """

    async def delete(db: Connection) -> WebhookRow | None:
        await _look(db, webhook_id, refuse)
        webhook = await webhook_records.delete_webhook(db, webhook_id)
        if webhook is not None:
            await audit.note(db, "deleteWebhook", webhook_id, host=_host(webhook))
        return webhook

    return there(await database.transact(delete), webhook_id)


async def retry_delivery(database: Database, webhook_id: str, delivery_id: str) -> DeliveryRow:
    """Send a delivery again at once, under the id that it had; a try under way ends first, and may deliver it.

    Raises:
        NotFound: there is no such webhook or delivery.
        Conflict: it was delivered, or its webhook is not active.
    """

    async def reopen(db: Connection) -> DeliveryRow:
        delivery = await webhook_records.hold_delivery(db, webhook_id, delivery_id)
        # read once the delivery is held: the try that was waited for may have deactivated it
        webhook = there(await webhook_records.find_webhook(db, webhook_id), webhook_id)
        if delivery is None:
            raise NotFound(f"there is no delivery {delivery_id} to webhook {webhook_id}")
        if delivery.state == "delivered":
            raise Conflict(f"delivery {delivery_id} was delivered")
        if not webhook.is_active:
            raise Conflict(f"webhook {webhook_id} is not active: activate it first")
        await audit.note(db, "retryDelivery", delivery_id, webhookId=webhook_id, host=_host(webhook))
        return await webhook_records.reopen_delivery(db, delivery_id)

    return await database.transact(reopen)


def there(row: WebhookRow | None, webhook_id: str) -> WebhookRow:
    """The webhook that was read.

    Raises:
        NotFound: there is none.
    """
    if row is None:
        raise NotFound(f"there is no webhook {webhook_id}")
    return row


async def _look(db: Connection, webhook_id: str, refuse: Callable[[WebhookRow], None] | None) -> None:
    """Let a webhook be refused as it is, and hold it from then on."""
    if refuse is not None:
        refuse(there(await webhook_records.find_webhook(db, webhook_id, held=True), webhook_id))


async def _refuse_address(services: Services, url: str) -> None:
    try:
        await services.outbound.check(url)
    except AddressRefused as error:
        raise FieldInvalid("url", error.why) from None


def _host(webhook: WebhookRow) -> str | None:
    return urlsplit(webhook.url).hostname


def _once_each(events: Sequence[Event]) -> list[Event]:
    return list(dict.fromkeys(events))
