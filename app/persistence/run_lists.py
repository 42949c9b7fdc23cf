"""Reading runs and what went wrong in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.suppliers import meant

RunRow = Mapping[str, Any]
"""A run's columns by name, with `supplier` (its code) and `seconds` (so far, or in all)."""

COLUMNS = """r.*, s.code AS supplier,
    EXTRACT(epoch FROM COALESCE(r.finished_at, clock_timestamp()) - r.started_at) AS seconds"""


async def find_run(db: AsyncConnection, run_id: str) -> RunRow | None:
    """One run."""
    rows = await db.execute(
        text(f"SELECT {COLUMNS} FROM runs r JOIN suppliers s ON s.id = r.supplier_id WHERE r.id = CAST(:id AS uuid)"),
        {"id": run_id},
    )
    found = rows.mappings().one_or_none()
    return None if found is None else dict(found)


async def find_runs(db: AsyncConnection, run_ids: Sequence[str]) -> list[RunRow]:
    """Those of these runs that are there, in no order."""
    statement = f"""
        SELECT {COLUMNS} FROM runs r JOIN suppliers s ON s.id = r.supplier_id
        WHERE r.id = ANY(CAST(:ids AS uuid[]))"""
    rows = await db.execute(text(statement), {"ids": list(run_ids)})
    return [dict(row) for row in rows.mappings()]


async def list_runs(
    db: AsyncConnection,
    *,
    supplier: str | None,
    status: str | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[RunRow]:
    """A page of runs, the newest first, from after (`created_at`, `id`); `supplier` is a code or `documentId`."""
    statement, parameters = runs_statement(supplier=supplier, status=status, after=after, limit=limit)
    rows = await db.execute(text(statement), parameters)
    return [dict(row) for row in rows.mappings()]


def runs_statement(
    *, supplier: str | None, status: str | None, after: tuple[datetime, str] | None, limit: int
) -> tuple[str, dict[str, object]]:
    """The statement behind `list_runs`, with its parameters."""
    conditions = ["true"]
    parameters: dict[str, object] = {"limit": limit}
    if supplier is not None:
        conditions.append(f"r.supplier_id = ({meant('supplier')})")
        parameters["supplier"] = supplier
    if status is not None:
        conditions.append("r.status = :status")
        parameters["status"] = status
    if after is not None:
        conditions.append("(r.created_at, r.id) < (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid))")
        parameters |= {"after_at": after[0], "after_id": after[1]}
    return (
        f"""
        SELECT {COLUMNS} FROM runs r JOIN suppliers s ON s.id = r.supplier_id
        WHERE {" AND ".join(conditions)} ORDER BY r.created_at DESC, r.id DESC LIMIT :limit""",
        parameters,
    )


ProblemRow = Mapping[str, Any]
"""One thing that a run could not read, fetch or write: the columns of `problems`, by name."""


async def list_problems(
    db: AsyncConnection, run_id: str, *, severity: str | None, stage: str | None, after_id: int, limit: int
) -> list[ProblemRow]:
    """A page of a run's problems in the order in which they were met, from after `after_id`."""
    statement, parameters = problems_statement(run_id, severity=severity, stage=stage, after_id=after_id, limit=limit)
    rows = await db.execute(text(statement), parameters)
    return [dict(row) for row in rows.mappings()]


def problems_statement(
    run_id: str, *, severity: str | None, stage: str | None, after_id: int, limit: int
) -> tuple[str, dict[str, object]]:
    """The statement behind `list_problems`, with its parameters."""
    conditions = ["p.run_id = CAST(:run_id AS uuid)", "p.id > :after_id"]
    parameters: dict[str, object] = {"run_id": run_id, "after_id": after_id, "limit": limit}
    for name, value in (("severity", severity), ("stage", stage)):
        if value is not None:
            conditions.append(f"p.{name} = :{name}")
            parameters[name] = value
    return (
        f"""
        SELECT p.id, p.severity, p.stage, p.kind, p.url, p.sku, p.line, p.reason, p.job_id, p.at FROM problems p
        WHERE {" AND ".join(conditions)} ORDER BY p.id LIMIT :limit""",
        parameters,
    )
