"""A test message to a webhook: signed like every other, sent at once and once, kept nowhere."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import orjson

from app.errors import NotFound
from app.notify.sending import Parcel, Verdict, send
from app.persistence import supplier_records, webhook_records
from app.sync.services import Services

PING = "ping"


async def ping(services: Services, webhook_id: str) -> Verdict:
    """Send one `ping` to a webhook, active or not, and say what came of it.

    Raises:
        NotFound: there is no such webhook.
    """
    async with services.database.quick() as db:
        row = await webhook_records.find_webhook(db, webhook_id)
        secret = None if row is None else await webhook_records.secret_of(db, webhook_id)
        now = await supplier_records.database_now(db)
    if row is None or secret is None:
        raise NotFound(f"there is no webhook {webhook_id}")
    at = now.astimezone(UTC)
    body = orjson.dumps({"type": PING, "timestamp": _iso(at), "data": {"webhookId": webhook_id}}).decode()
    return await send(services.outbound, Parcel(str(uuid4()), row.url, secret, body, at))


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
