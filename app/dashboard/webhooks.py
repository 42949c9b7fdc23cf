"""Webhooks: who is told, what was delivered, and a ping to try it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.api import webhooks as api
from app.api.answer_in_time import takes_long
from app.api.cursors import LARGEST_BIGINT, AfterDelivery, read_cursor, write_cursor
from app.api.paging import cut
from app.api.schemas import ServicesNeeded
from app.api.webhooks import get_delivery_id, get_webhook_id
from app.dashboard.entering import Keeper, PageRoute
from app.dashboard.forms import Form, Outcome, done
from app.dashboard.showing import show
from app.errors import Conflict, NotFound
from app.persistence import webhook_records
from app.sync.operating.ping import ping
from app.views.bodies import NewWebhook, WebhookChanges
from app.views.webhooks import EVENTS, delivery_out, webhook_out

router = APIRouter(include_in_schema=False, route_class=PageRoute)

A_PAGE = 30
MOST_WEBHOOKS = 200
ADDED = "The webhook was added. Its secret, shown this once, is what its messages are signed with (Standard Webhooks):"
WebhookId = Annotated[str, Depends(get_webhook_id)]
DeliveryId = Annotated[str, Depends(get_delivery_id)]


@router.get("/webhooks")
async def get_webhooks(request: Request, services: ServicesNeeded, caller: Keeper) -> Response:
    """Who is told of what."""
    async with services.database.quick() as db:
        rows = await webhook_records.list_webhooks(db, after=None, limit=MOST_WEBHOOKS)
    hooks = [webhook_out(row) for row in rows]
    return show(request, caller, "webhooks.html", title="Webhooks", webhooks=hooks, events=EVENTS)


@router.post("/webhooks", name="createWebhook")
async def add_webhook(request: Request, services: ServicesNeeded, caller: Keeper, form: Form) -> Response:
    """Add one; its secret is shown once, on the page that this leads to."""
    events = [event for event in EVENTS if event in form]

    async def work() -> Outcome:
        body = NewWebhook.model_validate({"url": form.get("url", ""), "events": events})
        created = await api.create_webhook(services, caller, body)
        return Outcome(ADDED, secret=created.secret)

    return await done(request, "/webhooks", work())


@router.get("/webhooks/{webhookId:segment}")
async def get_webhook(
    *, request: Request, webhook_id: WebhookId, services: ServicesNeeded, caller: Keeper, before: str | None = None
) -> Response:
    """One, and what was sent to it."""
    position = read_cursor(AfterDelivery, before)
    number = LARGEST_BIGINT if position is None else position.number
    async with services.database.quick() as db:
        row = await webhook_records.find_webhook(db, webhook_id)
        if row is None:
            raise NotFound(f"there is no webhook {webhook_id}")
        rows = await webhook_records.list_deliveries(db, webhook_id, before_number=number, limit=A_PAGE + 1)
    shown, more = cut(rows, A_PAGE)
    return show(
        request,
        caller,
        "webhook.html",
        title="Webhook",
        webhook=webhook_out(row),
        deliveries=[delivery_out(services.settings, delivery) for delivery in shown],
        following=write_cursor(AfterDelivery(shown[-1].number)) if more else None,
    )


@router.post("/webhooks/{webhookId:segment}/active", name="updateWebhook")
async def set_active(
    request: Request, webhook_id: WebhookId, services: ServicesNeeded, caller: Keeper, form: Form
) -> Response:
    """Switch it on or off."""
    active = form.get("active") == "yes"

    async def work() -> Outcome:
        await api.update_webhook(webhook_id, services, caller, WebhookChanges.model_validate({"isActive": active}))
        return Outcome(
            "It is told again; what waited is sent." if active else "It is told nothing; what waits is kept."
        )

    return await done(request, f"/webhooks/{webhook_id}", work())


@router.post("/webhooks/{webhookId:segment}/ping", name="pingWebhook")
async def ping_webhook(
    request: Request, webhook_id: WebhookId, services: ServicesNeeded, _: Keeper, __: Form
) -> Response:
    """Send a test message now, and say what the receiver made of it."""
    takes_long(request)

    async def work() -> Outcome:
        verdict = await ping(services, webhook_id)
        if verdict.kind != "delivered":
            raise Conflict(f"The ping was not taken: {verdict.error or verdict.status}")
        return Outcome(f"The ping was taken: the receiver answered {verdict.status}.")

    return await done(request, f"/webhooks/{webhook_id}", work())


@router.post("/webhooks/{webhookId:segment}/delete", name="deleteWebhook")
async def delete_webhook(
    request: Request, webhook_id: WebhookId, services: ServicesNeeded, caller: Keeper, _: Form
) -> Response:
    """Delete it with its deliveries."""

    async def work() -> Outcome:
        await api.delete_webhook(webhook_id, services.database, caller)
        return Outcome("The webhook is deleted.", "/webhooks")

    return await done(request, f"/webhooks/{webhook_id}", work())


@router.post("/webhooks/{webhookId:segment}/deliveries/{deliveryId:segment}/retry", name="retryDelivery")
async def retry_delivery(
    *,
    request: Request,
    webhook_id: WebhookId,
    delivery_id: DeliveryId,
    services: ServicesNeeded,
    caller: Keeper,
    form: Form,  # noqa: ARG001  read for its token
) -> Response:
    """Send it again."""

    async def work() -> Outcome:
        await api.retry_delivery(request, webhook_id, delivery_id, services.database, caller)
        return Outcome("It is sent again.")

    return await done(request, f"/webhooks/{webhook_id}", work())
