"""Answers kept by idempotency key, so that a repeated call answers what the first one did (API.md, "Sync").

claim ─▶ it is the first: do it, then `keep` its answer, or `release` the key when nothing was done
      ─▶ it is not: its answer, or that the first call is still under way, or that it asked for something else
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger import to_json

KEPT = "24 h"
AS_IT_WAS = "asItWas"
"""The member that keeps the answer's text beside its members: jsonb puts those in an order of its own. A process of a
release that does not know it shows it, and what such a one kept has none."""
ABANDONED = "10 min"
"""A call that neither answered nor renewed its key for this long is taken to have died with its process; doing it
again starts nothing twice, since a run that is under way is not started again."""


class FirstCall(msgspec.Struct, frozen=True):
    """What was found under a key that had been used before."""

    same_body: bool
    status: int | None
    """None while the first call is under way."""
    answer: dict[str, Any] | None


async def claim_key(db: AsyncConnection, caller: str, key: str, body_sha256: bytes) -> FirstCall | None:
    """Claim a key; None when this call is the first one with it."""
    await db.execute(text(f"DELETE FROM idempotency_keys WHERE created_at < now() - interval '{KEPT}'"))
    mine = await db.scalar(
        text(f"""
        INSERT INTO idempotency_keys AS k (caller, key, body_sha256) VALUES (:caller, :key, :body)
        ON CONFLICT (caller, key) DO UPDATE SET created_at = now()
        WHERE k.status IS NULL AND k.body_sha256 = EXCLUDED.body_sha256
          AND k.created_at < now() - interval '{ABANDONED}' RETURNING 1"""),
        {"caller": caller, "key": key, "body": body_sha256},
    )
    if mine:
        return None
    rows = await db.execute(
        text("""
        SELECT body_sha256 = :body AS same_body, status, answer FROM idempotency_keys
        WHERE caller = :caller AND key = :key"""),
        {"caller": caller, "key": key, "body": body_sha256},
    )
    row = rows.mappings().one_or_none()
    if row is None:
        return FirstCall(same_body=True, status=None, answer=None)
    return FirstCall(row["same_body"], row["status"], _as_it_was(row["answer"]))


def _as_it_was(kept: dict[str, Any] | None) -> dict[str, Any] | None:
    """An answer with its members in the order that the first caller got them in."""
    return kept if kept is None or AS_IT_WAS not in kept else msgspec.json.decode(kept[AS_IT_WAS])


async def renew_key(db: AsyncConnection, caller: str, key: str) -> None:
    """Say that the first call is still at work."""
    await db.execute(
        text("""
        UPDATE idempotency_keys SET created_at = now() WHERE caller = :caller AND key = :key AND status IS NULL"""),
        {"caller": caller, "key": key},
    )


async def keep_answer(db: AsyncConnection, caller: str, key: str, status: int, answer: dict[str, Any]) -> None:
    """Keep what the first call answered."""
    kept = {**answer, AS_IT_WAS: to_json(answer)}
    await db.execute(
        text("""
        UPDATE idempotency_keys SET status = :status, answer = CAST(:answer AS jsonb)
        WHERE caller = :caller AND key = :key"""),
        {"caller": caller, "key": key, "status": status, "answer": to_json(kept)},
    )


async def release_key(db: AsyncConnection, caller: str, key: str) -> None:
    """Forget a call that did nothing, so that it can be made again."""
    await db.execute(
        text("DELETE FROM idempotency_keys WHERE caller = :caller AND key = :key AND status IS NULL"),
        {"caller": caller, "key": key},
    )
