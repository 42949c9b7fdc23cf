"""A supplier and its last run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.persistence.supplier_records import SupplierRow
from app.settings import Settings
from app.views.masking import mask_optional
from app.views.shapes import Out, Utc, example

SUPPLIER: dict[str, Any] = {
    "documentId": "b8c2f1d09a7e4c35b1d2f3a4",
    "code": "A360",
    "name": "Premo BV",
    "isActive": True,
    "schedule": "30 3 * * *",
    "timeZone": "Europe/Amsterdam",
    "nextRunAt": "2026-01-06T02:30:00Z",
    "schedulePausedAt": None,
    "schedulePausedReason": None,
    "removalGuardShare": 0.2,
    "lastRun": {
        "id": "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8",
        "status": "completed",
        "createdAt": "2026-01-05T02:30:00Z",
        "startedAt": "2026-01-05T02:30:01Z",
        "finishedAt": "2026-01-05T02:32:35Z",
        "error": None,
    },
}


class LastRun(Out):
    """A supplier's newest run, in short."""

    id: str
    status: str
    created_at: Utc
    started_at: Utc | None
    finished_at: Utc | None
    error: str | None


class Supplier(Out):
    """A supplier; `removalGuardShare` is the one that holds for it, its own or the default.

    A schedule is paused when too many runs in a row failed; it goes on when it is set anew or a run succeeds.
    """

    model_config = example(**SUPPLIER)
    document_id: str
    code: str
    name: str
    is_active: bool
    schedule: str | None
    time_zone: str
    next_run_at: datetime | None
    schedule_paused_at: datetime | None
    schedule_paused_reason: str | None
    removal_guard_share: float
    last_run: LastRun | None


def last_run_out(settings: Settings, row: Mapping[str, Any] | None) -> LastRun | None:
    """A supplier's newest run as a view, where it has one."""
    return None if row is None else LastRun.model_validate({**row, "error": mask_optional(settings, row["error"])})


def supplier_out(settings: Settings, row: SupplierRow) -> Supplier:
    """A supplier's row as a view."""
    share = settings.removal_guard_share if row.removal_guard_share is None else row.removal_guard_share
    return Supplier(
        document_id=row.document_id,
        code=row.code,
        name=row.name,
        is_active=row.is_active,
        schedule=row.schedule.cron,
        time_zone=row.schedule.time_zone,
        next_run_at=row.schedule.next_run_at,
        schedule_paused_at=row.schedule.paused_at,
        schedule_paused_reason=row.schedule.paused_reason,
        removal_guard_share=share,
        last_run=last_run_out(settings, row.last_run),
    )
