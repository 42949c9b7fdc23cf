"""Webhooks and what is to be delivered to them.

    a run's last statement ─▶ enqueue_run_finished: a row a webhook, with the run as it ended, in the same transaction
    any worker             ─▶ claim_due: the row, under a lease and a random claim ─▶ the first time: its text is kept
                           ─▶ HTTP ─▶ note the verdict, fenced by the claim

So a delivery is there exactly when its run's end is, whichever process dies. A row's id is the message's id and its
text is written once, from the view that the API shows: a receiver may get a message twice and can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger import bounded, to_json
from app.persistence.run_lists import RunRow, find_run
from app.persistence.statements import text

RUN_FINISHED = "run.finished"
CATALOGUE_CHANGED = "catalogue.changed"
LEASE = "30 s"
"""Longer than a try may take; a row whose worker died is sent again after it."""
KEPT_TRIES = 20


class ClaimedDelivery(msgspec.Struct, frozen=True):
    """A delivery that this process may try now."""

    id: str
    webhook_id: str
    claim: str
    url: str
    secret: str
    event: str
    snapshot: dict[str, Any] | None
    """The run as it ended; None for a message that a version before this one wrote."""
    payload: str | None
    """The text that is sent, once it was composed for the first try."""
    attempts: int
    """This try included."""
    at: datetime


# What a run's end leads to.


async def enqueue_run_finished(db: AsyncConnection, run_id: str) -> None:
    """Write what the shop is to be told of a run that ended in this transaction.

    A supplier that keeps failing is told of once: a failed run after a failed run makes no `run.finished`.
    """
    webhooks = (await db.execute(text("SELECT CAST(id AS text) AS id, events FROM webhooks WHERE is_active"))).all()
    if not webhooks:
        return
    run = await find_run(db, run_id)
    assert run is not None
    snapshot = {**run, "failed_before": await _failed_before(db, run)}
    for event in await _events(db, run, failed_before=snapshot["failed_before"]):
        receivers = [row.id for row in webhooks if event in row.events]
        if receivers:
            await _add_deliveries(db, receivers, event, snapshot)


async def _events(db: AsyncConnection, run: RunRow, *, failed_before: bool) -> list[str]:
    events = []
    if not (failed_before and run["status"] == "failed"):
        events.append(RUN_FINISHED)
    if await db.scalar(text("SELECT EXISTS (SELECT FROM changes WHERE run_id = :id)"), {"id": run["id"]}):
        events.append(CATALOGUE_CHANGED)
    return events


async def _failed_before(db: AsyncConnection, run: RunRow) -> bool:
    """Whether the supplier was failing already; cancelled runs say nothing about it."""
    status = await db.scalar(
        text("""
        SELECT status FROM runs WHERE supplier_id = :supplier_id AND id <> :id
          AND status IN ('completed', 'completed_with_errors', 'failed')
        ORDER BY created_at DESC, id DESC LIMIT 1"""),
        {"supplier_id": run["supplier_id"], "id": run["id"]},
    )
    return bool(status == "failed")


async def _add_deliveries(
    db: AsyncConnection, webhook_ids: Sequence[str], event: str, snapshot: Mapping[str, Any]
) -> None:
    await db.execute(
        text("""
        INSERT INTO deliveries (id, webhook_id, event, run_id, snapshot)
        SELECT r.id, r.webhook_id, :event, :run_id, CAST(:snapshot AS jsonb)
        FROM unnest(CAST(:ids AS uuid[]), CAST(:webhook_ids AS uuid[])) AS r(id, webhook_id)
        ON CONFLICT DO NOTHING"""),
        {
            "ids": [str(uuid4()) for _ in webhook_ids],
            "webhook_ids": list(webhook_ids),
            "event": event,
            "run_id": snapshot["id"],
            "snapshot": to_json(snapshot),
        },
    )


# Delivering.

DUE = """d.state = 'pending' AND d.next_attempt_at <= clock_timestamp()
    AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp())"""
NUMBERED = f"""(d.event <> '{CATALOGUE_CHANGED}' OR NOT EXISTS (
    SELECT FROM changes c WHERE c.run_id = d.run_id AND c.seq IS NULL))"""
"""A run's changes can be read at /changes only once they are numbered, some 100 ms after its end."""
IDLE = """NOT EXISTS (
    SELECT FROM deliveries u WHERE u.webhook_id = w.id AND u.state = 'pending' AND u.lease_until > clock_timestamp())"""

READY = f"""w.is_active AND {IDLE} AND EXISTS (
    SELECT FROM deliveries d WHERE d.webhook_id = w.id AND {DUE} AND {NUMBERED})"""
"""Of a webhook: something can be sent to it now. What waits for an inactive one is due again once it is active."""


async def any_due(db: AsyncConnection) -> bool:
    """Whether there is anything to deliver now: what `claim_due` would find, unless others hold it."""
    return bool(await db.scalar(text(f"SELECT EXISTS (SELECT FROM webhooks w WHERE {READY})")))


async def claim_due(db: AsyncConnection, limit: int) -> list[ClaimedDelivery]:
    """Take the oldest due delivery of each webhook that has none under way: one that hangs holds up no other."""
    claim, held = str(uuid4()), await _hold_idle_webhooks(db, limit)
    rows = await db.execute(
        text(f"""
        WITH due AS (
            SELECT d.id, w.url, w.secret FROM webhooks w CROSS JOIN LATERAL (
                SELECT d.id FROM deliveries d WHERE d.webhook_id = w.id AND {DUE} AND {NUMBERED}
                ORDER BY d.next_attempt_at, d.number LIMIT 1 FOR UPDATE SKIP LOCKED) d
            WHERE w.id = ANY(CAST(:held AS uuid[])) AND {IDLE})
        UPDATE deliveries d SET claim = CAST(:claim AS uuid), lease_until = clock_timestamp() + interval '{LEASE}',
            attempts = attempts + 1, last_attempt_at = clock_timestamp()
        FROM due WHERE d.id = due.id
        RETURNING CAST(d.id AS text) AS id, CAST(d.webhook_id AS text) AS webhook_id, due.url, due.secret, d.event,
            d.snapshot, d.payload, d.attempts, d.last_attempt_at AS at"""),
        {"held": held, "claim": claim},
    )
    return [ClaimedDelivery(claim=claim, **row) for row in rows.mappings()]


async def _hold_idle_webhooks(db: AsyncConnection, limit: int) -> list[str]:
    """Hold webhooks that have something due and nothing under way, as a statement of its own.

    The one after it sees what another process claimed and committed before these were held.
    """
    ids = await db.scalars(
        text(f"SELECT CAST(w.id AS text) FROM webhooks w WHERE {READY} LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED"),
        {"limit": limit},
    )
    return list(ids)


async def keep_payload(db: AsyncConnection, claimed: ClaimedDelivery, payload: str) -> bool:
    """Keep the text of a message before its first try, for every later one; False when the claim was lost."""
    row = await db.scalar(
        text("""
        UPDATE deliveries SET payload = :payload
        WHERE id = CAST(:id AS uuid) AND claim = CAST(:claim AS uuid) RETURNING 1"""),
        {"id": claimed.id, "claim": claimed.claim, "payload": payload},
    )
    return row is not None


ASKED_FOR_AGAIN = "attempts = 0"
"""Of a delivery under way: its claim counted this try, so only `reopen_delivery` can have put its attempts back."""


async def note_verdict(
    db: AsyncConnection, claimed: ClaimedDelivery, *, status: int | None, error: str | None, pause_s: float | None
) -> bool:
    """Note what came of a try: no error is delivered, an error waits `pause_s`, or has failed when that is None.

    Who asked meanwhile for the delivery to be sent again, which is seen by its attempts, has it tried anew at once
    unless this try delivered it. False when the claim was lost to another process meanwhile: then nothing was written.
    """
    state = "delivered" if error is None else "failed" if pause_s is None else "pending"
    tried = {"at": claimed.at, "status": status, "error": None if error is None else bounded(error)}
    row = await db.scalar(
        text(f"""
        UPDATE deliveries SET state = CASE WHEN :state = 'failed' AND {ASKED_FOR_AGAIN} THEN 'pending' ELSE :state END,
            claim = NULL, lease_until = NULL, response_status = :status, error = :error,
            next_attempt_at = clock_timestamp()
                + CASE WHEN {ASKED_FOR_AGAIN} THEN interval '0' ELSE make_interval(secs => :pause_s) END,
            delivered_at = CASE WHEN :state = 'delivered' THEN clock_timestamp() END,
            tries = CASE WHEN jsonb_array_length(tries) < {KEPT_TRIES} THEN tries ELSE tries - 0 END
                || CAST(:tried AS jsonb)
        WHERE id = CAST(:id AS uuid) AND claim = CAST(:claim AS uuid) RETURNING 1"""),
        {
            "id": claimed.id,
            "claim": claimed.claim,
            "state": state,
            "status": status,
            "error": tried["error"],
            "pause_s": pause_s or 0.0,
            "tried": to_json([tried]),
        },
    )
    return row is not None


async def still_asks(db: AsyncConnection, claimed: ClaimedDelivery) -> bool:
    """Hold a delivery's webhook, and say whether its address is still the one that was asked."""
    url = await db.scalar(
        text("SELECT url FROM webhooks WHERE id = CAST(:id AS uuid) FOR NO KEY UPDATE"), {"id": claimed.webhook_id}
    )
    return bool(url == claimed.url)


async def deactivate(db: AsyncConnection, webhook_id: str, reason: str) -> None:
    """Send nothing more to a webhook; what waits for it has failed."""
    await db.execute(
        text("""
        UPDATE webhooks SET is_active = false, deactivated_reason = :reason, updated_at = clock_timestamp()
        WHERE id = CAST(:id AS uuid)"""),
        {"id": webhook_id, "reason": reason},
    )
    await db.execute(
        text("""
        UPDATE deliveries SET state = 'failed', claim = NULL, lease_until = NULL, error = :reason
        WHERE webhook_id = CAST(:id AS uuid) AND state = 'pending'"""),
        {"id": webhook_id, "reason": f"the webhook was deactivated: {reason}"},
    )
