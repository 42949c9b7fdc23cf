"""Standard Webhooks signatures (standardwebhooks.com): HMAC-SHA256 over id, time and body, by a secret of the webhook.

webhook-id: the same on each try · webhook-timestamp: of this try · webhook-signature: v1,base64 of the HMAC
"""

from __future__ import annotations

import base64
import secrets
from datetime import datetime

from standardwebhooks import Webhook

SECRET_BYTES = 32
PREFIX = "whsec_"


def new_secret() -> str:
    """A fresh secret as the receivers' libraries take it: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(secret: str, message_id: str, at: datetime, body: str) -> dict[str, str]:
    """The three headers that let the receiver tell that `body` comes from us, and when.

    Args:
        secret: the webhook's.
        message_id: the same on each try, so that the receiver can leave out what it had.
        at: the time of this try, in UTC.
        body: exactly what is sent.
    """
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body),
    }
