"""Delivering what the shop is to be told: any worker, no transaction open while a receiver is asked.

    due in the ledger ─▶ claim: one a webhook, under a lease ─▶ its text ─▶ sign, POST ─▶ what came of it ─▶ next
                          │ commit                              │ kept once  │ no transaction  │ commit, fenced

A process that dies in between lets its lease run out, and another sends the same message again under the same id.
"""

from __future__ import annotations

import asyncio

from structlog import get_logger

from app.errors import OutageError
from app.metrics.work import DELIVERIES
from app.notify.retrying import next_pause_s
from app.notify.sending import Parcel, Verdict, send
from app.outages import outages
from app.persistence import webhooks
from app.persistence.database import Connection
from app.persistence.webhooks import ClaimedDelivery
from app.sync.services import Services
from app.sync.stage.tasks import together
from app.views.webhooks import message_of

log = get_logger()

LOOK_EVERY_S = 1.0
AT_ONCE = 10
"""Receivers that one process asks at a time."""


async def deliver_webhooks(services: Services) -> None:
    """Deliver until cancelled. A receiver that hangs holds a slot of its own and no other's."""
    under_way: set[asyncio.Task[None]] = set()
    async with together() as group:
        while True:
            try:
                for claimed in await _claim(services, AT_ONCE - len(under_way)):
                    task = group.create_task(_deliver(services, claimed))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
            except OutageError as error:
                outages.met("webhooks", error)
            except Exception:
                log.exception("a bug in looking for deliveries")
            else:
                outages.over("webhooks")
            await asyncio.sleep(LOOK_EVERY_S)


async def _claim(services: Services, most: int) -> list[ClaimedDelivery]:
    if most <= 0:
        return []
    async with services.database.quick() as db:
        if not await webhooks.any_due(db):
            return []

    async def claim_due(db: Connection) -> list[ClaimedDelivery]:
        return await webhooks.claim_due(db, most)

    return await services.database.transact(claim_due)


async def _deliver(services: Services, claimed: ClaimedDelivery) -> None:
    """Deliver one; whatever it meets, the worker's jobs and the other deliveries go on."""
    try:
        await _try(services, claimed)
    except Exception:
        log.exception("a bug in delivering; it is tried again when its lease is over", delivery=claimed.id)


async def _try(services: Services, claimed: ClaimedDelivery) -> None:
    try:
        text = await _text_of(services, claimed)
    except OutageError as error:
        log.warning("a delivery waits for a part of ours", error=str(error))
        return  # its lease runs out, and it is sent then
    if text is None:
        return
    parcel = Parcel(claimed.id, claimed.url, claimed.secret, text, claimed.at)
    try:
        verdict = await send(services.outbound, parcel)
    except Exception as error:  # noqa: BLE001  whatever one receiver leads to, the worker goes on
        verdict = Verdict("again", error=f"{type(error).__name__}: {error}")
    DELIVERIES.labels(verdict.kind).inc()
    log.info("webhook", delivery=claimed.id, attempt=claimed.attempts, outcome=verdict.kind, error=verdict.error)
    try:
        await _note_verdict(services, claimed, verdict)
    except OutageError as error:
        log.warning("what came of a delivery was not noted; it is sent again", error=str(error))


async def _text_of(services: Services, claimed: ClaimedDelivery) -> str | None:
    """The message's text, composed and kept before the first try; None when another process has the delivery now."""
    text = message_of(services.settings, claimed.event, claimed.snapshot, claimed.payload)
    if text == claimed.payload:
        return text

    async def keep(db: Connection) -> bool:
        return await webhooks.keep_payload(db, claimed, text)

    return text if await services.database.transact(keep) else None


async def _note_verdict(services: Services, claimed: ClaimedDelivery, verdict: Verdict) -> None:
    pause_s = next_pause_s(claimed.attempts, verdict.wish_s) if verdict.kind == "again" else None

    async def note(db: Connection) -> None:
        is_gone = verdict.kind == "gone" and await webhooks.still_asks(db, claimed)
        wait_s = 0.0 if verdict.kind == "gone" and not is_gone else pause_s  # it goes to the new address
        held = await webhooks.note_verdict(db, claimed, status=verdict.status, error=verdict.error, pause_s=wait_s)
        if held and is_gone:
            await webhooks.deactivate(db, claimed.webhook_id, "the receiver answered 410 Gone")

    await services.database.transact(note)
