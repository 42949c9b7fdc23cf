"""The audit trail's entries, as the API and the command line show them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import JsonValue

from app.persistence.audit import AuditRow, Result, Via
from app.views.shapes import Out, example

ENTRY: dict[str, Any] = {
    "id": 17,
    "at": "2026-01-05T03:01:00Z",
    "actor": "ci",
    "role": "operator",
    "via": "api",
    "action": "startSync",
    "target": "A360",
    "result": "ok",
    "detail": {"runId": "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8", "mode": "queued"},
    "address": "192.0.2.7",
}


class AuditEntry(Out):
    """Who did what to what; `refused` is what could not be done or was not allowed, `failed` what went wrong."""

    model_config = example(**ENTRY)
    id: int
    at: datetime
    actor: str
    role: str | None
    via: Via
    action: str
    target: str | None
    result: Result
    detail: dict[str, JsonValue]
    address: str | None


def entry_out(row: AuditRow) -> AuditEntry:
    """An entry as it is shown."""
    return AuditEntry(**row)
