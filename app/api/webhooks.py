"""Webhooks: who is told that a run finished or that the catalogue changed, and what came of telling them.

A webhook's secret is shown once, in the answer that creates it. Deliveries are made by the workers.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from app.api.auth import Admin, GuardedRoute
from app.api.conditional_writes import IfMatch, others_than
from app.api.cursors import LARGEST_BIGINT, AfterDelivery, AfterWebhook, from_micros, to_micros
from app.api.paging import Page, PagingNeeded, page_example
from app.api.problems import problem_answers
from app.api.schemas import DatabaseNeeded, ServicesNeeded
from app.api.validators import NOT_MODIFIED, unchanged_view
from app.errors import NotFound
from app.persistence import webhook_records
from app.sync.operating import webhooks as operating
from app.views.bodies import NewWebhook, WebhookChanges
from app.views.ids import uuid_in
from app.views.webhooks import DELIVERY, WEBHOOK, CreatedWebhook, Delivery, Webhook, delivery_out, webhook_out

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"], route_class=GuardedRoute)


async def get_webhook_id(
    webhook_id: Annotated[str, Path(alias="webhookId", description="A webhook's `id`.", examples=[WEBHOOK["id"]])],
) -> str:
    """The webhook that a path names; what is no id is an unknown webhook."""
    return _uuid(webhook_id, "webhook")


async def get_delivery_id(
    delivery_id: Annotated[str, Path(alias="deliveryId", description="A delivery's `id`.", examples=[DELIVERY["id"]])],
) -> str:
    """The delivery that a path names; what is no id is an unknown delivery."""
    return _uuid(delivery_id, "delivery")


def _uuid(text: str, what: str) -> str:
    known = uuid_in(text)
    if known is None:
        raise NotFound(f"there is no {what} {text}")
    return known


WebhookId = Annotated[str, Depends(get_webhook_id)]
DeliveryId = Annotated[str, Depends(get_delivery_id)]


@router.get(
    "",
    operation_id="listWebhooks",
    summary="Webhooks, the newest first",
    responses={**page_example(WEBHOOK), **problem_answers(403)},
)
async def list_webhooks(database: DatabaseNeeded, _: Admin, paging: PagingNeeded) -> Page[Webhook]:
    """Without their secrets."""
    after = paging.after(AfterWebhook)
    position = None if after is None else (from_micros(after.micros), after.id)
    async with database.quick() as db:
        rows = await webhook_records.list_webhooks(db, after=position, limit=paging.rows)
    return paging.page(rows, webhook_out, lambda row: AfterWebhook(to_micros(row.created_at), row.id))


@router.post(
    "",
    operation_id="createWebhook",
    summary="Add a webhook",
    status_code=201,
    responses=problem_answers(403, 408),
)
async def create_webhook(services: ServicesNeeded, _: Admin, body: NewWebhook) -> CreatedWebhook:
    """The answer holds the secret that its messages are signed with; it is not shown again."""
    return await operating.create_webhook(services, body)


@router.get(
    "/{webhookId:segment}",
    operation_id="getWebhook",
    summary="One webhook",
    response_model=Webhook,
    responses={**NOT_MODIFIED, **problem_answers(403, 404)},
)
async def get_webhook(
    request: Request, response: Response, webhook_id: WebhookId, database: DatabaseNeeded, _: Admin
) -> Webhook | Response:
    """Without its secret."""
    async with database.quick() as db:
        webhook = webhook_out(operating.there(await webhook_records.find_webhook(db, webhook_id), webhook_id))
    return unchanged_view(request, response, webhook) or webhook


@router.patch(
    "/{webhookId:segment}",
    operation_id="updateWebhook",
    summary="Change a webhook",
    responses=problem_answers(403, 404, 408, 412),
)
async def update_webhook(
    webhook_id: WebhookId, services: ServicesNeeded, _: Admin, body: WebhookChanges, if_match: IfMatch = None
) -> Webhook:
    """What waits for one that is not active any more stays and is sent when it is active again."""
    return webhook_out(
        await operating.update_webhook(services, webhook_id, body, refuse=others_than(if_match, webhook_out))
    )


@router.delete(
    "/{webhookId:segment}",
    operation_id="deleteWebhook",
    summary="Delete a webhook with its deliveries",
    responses=problem_answers(403, 404, 412),
)
async def delete_webhook(
    webhook_id: WebhookId, database: DatabaseNeeded, _: Admin, if_match: IfMatch = None
) -> Webhook:
    """Answers what was deleted."""
    return webhook_out(await operating.delete_webhook(database, webhook_id, refuse=others_than(if_match, webhook_out)))


@router.get(
    "/{webhookId:segment}/deliveries",
    operation_id="listDeliveries",
    summary="What was sent to a webhook, the newest first",
    responses={**page_example(DELIVERY), **problem_answers(403, 404)},
)
async def list_deliveries(
    request: Request, webhook_id: WebhookId, database: DatabaseNeeded, _: Admin, paging: PagingNeeded
) -> Page[Delivery]:
    """Each with its tries, and when the next one is."""
    after = paging.after(AfterDelivery)
    before = LARGEST_BIGINT if after is None else after.number
    async with database.quick() as db:
        operating.there(await webhook_records.find_webhook(db, webhook_id), webhook_id)
        rows = await webhook_records.list_deliveries(db, webhook_id, before_number=before, limit=paging.rows)
    return paging.page(rows, partial(delivery_out, request.app.state.settings), lambda row: AfterDelivery(row.number))


@router.post(
    "/{webhookId:segment}/deliveries/{deliveryId:segment}/retry",
    operation_id="retryDelivery",
    summary="Send a delivery again",
    status_code=202,
    responses=problem_answers(403, 404, 409),
)
async def retry_delivery(
    request: Request, webhook_id: WebhookId, delivery_id: DeliveryId, database: DatabaseNeeded, _: Admin
) -> Delivery:
    """At once, under the id that it had. 409 when it was delivered, or its webhook is not active."""
    delivery = await operating.retry_delivery(database, webhook_id, delivery_id)
    return delivery_out(request.app.state.settings, delivery)
