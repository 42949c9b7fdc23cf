"""Reading and editing suppliers, each with its last run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.suppliers import MEANT


class SupplierSchedule(msgspec.Struct, frozen=True):
    """When a supplier is synced by itself."""

    cron: str | None
    """Five fields, read in `time_zone`; None where it is synced by hand."""
    time_zone: str
    next_run_at: datetime | None
    """None without an expression, or while it is paused."""
    paused_at: datetime | None
    paused_reason: str | None
    """Which runs in a row failed; None while it is not paused."""


class SupplierRow(msgspec.Struct, frozen=True):
    """A supplier as an operator sees it."""

    id: int
    document_id: str
    """The name by which the replaced system's users call it; a code of its own where nobody gave one."""
    code: str
    name: str
    is_active: bool
    schedule: SupplierSchedule
    removal_guard_share: float | None
    """From 0 to 1, its own; None where the installation's default holds."""
    last_run: dict[str, Any] | None
    """Id, status, error and times of the newest run, as the API names them."""


SCHEDULE = ("schedule", "time_zone", "next_run_at", "schedule_paused_at", "schedule_paused_reason")
"""Its columns, in the order of `SupplierSchedule`."""
SELECT = f"""
SELECT s.id, s.document_id, s.code, s.name, s.is_active, {", ".join(f"s.{name}" for name in SCHEDULE)},
    s.removal_guard_share, l.last_run
FROM suppliers s LEFT JOIN LATERAL (
    SELECT jsonb_build_object('id', r.id, 'status', r.status, 'createdAt', r.created_at, 'startedAt', r.started_at,
        'finishedAt', r.finished_at, 'error', r.error) AS last_run
    FROM runs r WHERE r.supplier_id = s.id ORDER BY r.created_at DESC, r.id DESC LIMIT 1) l ON true
"""
IN_ORDER = 's.code COLLATE "C"'
"""The same in every database: whatever its collation, a page begins where the one before ended for every client."""


async def list_suppliers(db: AsyncConnection, *, after_code: str, limit: int) -> list[SupplierRow]:
    """A page of suppliers by code, from after `after_code`."""
    rows = await db.execute(
        text(f"{SELECT} WHERE {IN_ORDER} > :after_code ORDER BY {IN_ORDER} LIMIT :limit"),
        {"after_code": after_code, "limit": limit},
    )
    return [_supplier(row) for row in rows.mappings()]


async def suppliers_by_code(db: AsyncConnection, codes: list[str]) -> list[SupplierRow]:
    """The suppliers with these codes, by code."""
    rows = await db.execute(
        text(f"{SELECT} WHERE s.code = ANY(CAST(:codes AS text[])) ORDER BY {IN_ORDER}"), {"codes": codes}
    )
    return [_supplier(row) for row in rows.mappings()]


async def find_supplier_row(db: AsyncConnection, document_id_or_code: str, *, held: bool = False) -> SupplierRow | None:
    """The supplier with this `documentId`, else the one with this code; `held` until the transaction ends."""
    rows = await db.execute(
        text(f"""
        {SELECT} WHERE s.id = ({MEANT}) {"FOR NO KEY UPDATE OF s" if held else ""}"""),
        {"key": document_id_or_code},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else _supplier(row)


def _supplier(row: RowMapping) -> SupplierRow:
    columns = dict(row)
    schedule = SupplierSchedule(*(columns.pop(name) for name in SCHEDULE))
    return SupplierRow(**columns, schedule=schedule)


EDITABLE = frozenset(
    {"name", "is_active", "schedule", "time_zone", "next_run_at", "removal_guard_share"}
    | {"schedule_paused_at", "schedule_paused_reason", "schedule_resumed_at"}
)


async def insert_supplier(
    db: AsyncConnection, *, code: str, document_id: str | None, values: Mapping[str, object]
) -> bool:
    """Add a supplier; False when its code or `documentId` is taken, also as the other's."""
    names = sorted(set(values) & EDITABLE)
    taken = await db.scalar(
        text("SELECT 1 FROM suppliers WHERE document_id IN (:code, :document_id) OR code IN (:code, :document_id)"),
        {"code": code, "document_id": document_id or code},
    )
    if taken:
        return False
    row = await db.scalar(
        text(f"""
        INSERT INTO suppliers (document_id, code, {", ".join(names)})
        VALUES (:document_id, :code, {", ".join(f":{name}" for name in names)})
        ON CONFLICT DO NOTHING RETURNING 1"""),
        {**values, "code": code, "document_id": document_id or uuid4().hex[:24]},
    )
    return row is not None


async def update_supplier(db: AsyncConnection, supplier_id: int, values: Mapping[str, object]) -> None:
    """Change what is given; a key that is not there stays as it is."""
    names = sorted(set(values) & EDITABLE)
    if names:
        sets = ", ".join(f"{name} = :{name}" for name in names)
        await db.execute(
            text(f"UPDATE suppliers SET {sets}, updated_at = clock_timestamp() WHERE id = :id"),
            {**values, "id": supplier_id},
        )


async def database_now(db: AsyncConnection) -> datetime:
    """PostgreSQL's clock, by which everything is timed."""
    now = await db.scalar(text("SELECT clock_timestamp()"))
    assert isinstance(now, datetime)
    return now
