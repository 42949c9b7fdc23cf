"""A job as it is written, claimed, and left unclaimed."""

from __future__ import annotations

import secrets
import time
from typing import Any
from uuid import UUID

import msgspec

Owner = tuple[str, int, bool]
"""Whose a job is: its run, its supplier, and whether its run is a direct one."""


class RunOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run was asked for beside its supplier; kept with the run, and handed to each of its jobs at its claim."""

    force: bool = False
    """Fetch and write whatever the hashes say; the removal guard stays on."""
    skus: tuple[str, ...] | None = None
    """The families of the supplier that are meant, or None for all; no family is removed then. Goes with `force`."""
    reparse: bool = False
    """Apply the stored documents anew, without the origin; no family is removed then."""
    confirmed_manifest: str | None = None
    """The sha256 of the manifest whose removals an operator confirmed; no other one's are."""


class NewJob(msgspec.Struct, frozen=True):
    """A job to be written, with the transaction that makes it necessary."""

    id: str
    queue: str
    key: str
    """Unique in its run and queue: asking twice makes one job."""
    args: dict[str, Any]
    parent_id: str | None = None
    traceparent: str | None = None
    """What it is part of in a trace (W3C Trace Context); None where nothing is traced."""


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
    options: RunOptions
    waited_s: float = 0.0
    """From when it was due to this claim."""
    supplier: str = ""
    """The supplier's code, for traces and logs."""
    traceparent: str | None = None
    """What it is part of in a trace; to its stage, what the job's own work is: its children hang on that."""

    @property
    def owner(self) -> Owner:
        """Whose it is, and whose its children are."""
        return self.run_id, self.supplier_id, self.direct


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
