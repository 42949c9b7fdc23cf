"""A job as it is written, claimed, and left unclaimed."""

from __future__ import annotations

import secrets
import time
from typing import Any
from uuid import UUID

import msgspec


class NewJob(msgspec.Struct, frozen=True):
    """A job to be written, with the transaction that makes it necessary."""

    id: str
    queue: str
    key: str
    """Unique in its run and queue: asking twice makes one job."""
    args: dict[str, Any]
    parent_id: str | None = None


class ClaimedJob(msgspec.Struct, frozen=True):
    """A job that this process may work on for as long as its claim holds."""

    id: str
    queue: str
    run_id: str
    supplier_id: int
    parent_id: str | None
    args: dict[str, Any]
    direct: bool
    attempts: int
    """Attempts spent so far, the running one not among them."""
    deaths: int
    claim: UUID
    options: dict[str, Any]
    """The run's options: `force`, `skus`."""


class Unclaimed(msgspec.Struct, frozen=True):
    """A job that was not claimed: closed for good, or to be looked at again later."""

    id: str
    closed: bool
    wait_ms: int
    paused: bool = False
    """Its queue is paused: nothing of it may start."""
    unknown: bool = False
    """The ledger has no such job: it was forgotten, or is another installation's."""


def new_job_id(queue: str) -> str:
    """An id for a job of `queue`: the time in ms and 80 random bits, as in a UUID of version 7 (RFC 9562).

    The time only keeps new rows together at the end of each index; nothing is decided by it.
    """
    return f"{queue}-{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def to_json(value: object) -> str:
    """JSON text for a `CAST(:x AS jsonb)` parameter: one parameter, however many rows."""
    return msgspec.json.encode(value).decode()
