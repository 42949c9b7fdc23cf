"""Signing a message, and when it is tried again."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.notify.retrying import LONGEST_WISH_S, PAUSES_S, next_pause_s
from app.notify.sending import Parcel, send
from app.notify.signing import new_secret, signed_headers
from app.outbound.client import OutboundClient

BODY = '{"type":"run.finished","data":{"supplier":"A360","name":"Tasche für Ärzte"}}'


def test_the_signature_is_what_the_standard_says() -> None:
    """Against the specification's formula, not against the library that made it."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime(2026, 1, 5, 3, 2, 35, 900_000, tzinfo=UTC)
    headers = signed_headers(secret, "msg_1", at, BODY)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"msg_1.1767582155.{BODY}".encode(), hashlib.sha256).digest()
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1767582155",
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def test_a_receiver_tells_a_message_of_ours_from_one_that_was_changed() -> None:
    secret = new_secret()
    headers = signed_headers(secret, "msg_1", datetime.now(UTC), BODY)
    Webhook(secret).verify(BODY, headers)
    for changed in (BODY + " ", BODY.replace("A360", "A361")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(changed, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, {**headers, "webhook-id": "msg_2"})
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


def test_no_two_secrets_are_the_same_and_each_has_256_bits() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(base64.b64decode(secret.removeprefix("whsec_"))) for secret in secrets} == {32}


def test_tries_are_spread_over_about_a_day_and_then_end() -> None:
    pauses = [next_pause_s(attempts) for attempts in range(1, len(PAUSES_S) + 2)]
    assert pauses[-1] is None
    known = [pause for pause in pauses if pause is not None]
    assert 20 * 3600 < sum(known) < 27 * 3600
    assert all(0.9 * base <= pause <= 1.1 * base for base, pause in zip(PAUSES_S, known, strict=True))
    assert list(PAUSES_S) == sorted(PAUSES_S)
    assert known[0] < 6


def test_a_receiver_may_ask_for_a_longer_pause_but_not_for_any() -> None:
    assert next_pause_s(1, 120.0) == 120.0
    assert next_pause_s(1, 10**9) == LONGEST_WISH_S
    assert next_pause_s(1, 0.5) != 0.5


async def test_nothing_is_sent_into_a_private_network_whatever_the_address_looks_like() -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "10.0.0.1"]

    async with OutboundClient(lookup=lookup) as outbound:
        for url in ("http://127.0.0.1:1/", "http://[::ffff:10.0.0.1]/", "http://shop.example/hooks"):
            verdict = await send(outbound, Parcel("id", url, new_secret(), BODY, datetime.now(UTC)))
            assert (verdict.kind, verdict.status) == ("refused", None)
            assert "not a public address" in (verdict.error or "")
