"""One try of one delivery: sign, send, judge.

2xx                      delivered
410                      gone: nothing more is sent to this webhook
a private address        refused: no connection was made, and another try would not change it
3xx, 4xx, 5xx, time-out  tried again; a redirect is not followed, since it may lead into a private network
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.errors import AddressRefused, OriginRefused, OriginUnavailable
from app.notify.signing import signed_headers
from app.outbound.client import FetchLimits, OutboundClient

GONE = 410
LIMITS = FetchLimits(max_bytes=64 * 1024, connect_timeout_s=5.0, first_byte_timeout_s=10.0, total_timeout_s=15.0)


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent, where to, and as what."""

    message_id: str
    url: str
    secret: str
    body: str
    at: datetime
    """The time of this try, by PostgreSQL's clock."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a try."""

    kind: Literal["delivered", "again", "gone", "refused"]
    status: int | None = None
    """What the receiver answered, if it did."""
    error: str | None = None
    wish_s: float | None = None
    """The wait that the receiver asked for."""


async def send(outbound: OutboundClient, parcel: Parcel) -> Verdict:
    """Make one try; never raises for what the receiver does."""
    headers = signed_headers(parcel.secret, parcel.message_id, parcel.at, parcel.body)
    try:
        status = await outbound.post(
            parcel.url,
            body=parcel.body.encode(),
            headers={**headers, "Content-Type": "application/json"},
            limits=LIMITS,
        )
    except AddressRefused as error:
        return Verdict("refused", error=str(error))
    except OriginRefused as error:
        return Verdict("gone" if error.status == GONE else "again", error.status, str(error))
    except OriginUnavailable as error:
        return Verdict("again", error.status, str(error), error.retry_after_s)
    return Verdict("delivered", status)
