"""Filling the ledger by hand, for what a real sync would need hours to bring about."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.support.stack import Stack


async def add_run(stack: Stack, supplier: str = "A23", *, status: str = "completed", mode: str = "queued") -> str:
    """A run of a supplier."""
    run_id = str(uuid4())
    async with stack.services.database.begin() as db:
        await db.execute(
            text("""
            INSERT INTO runs (id, supplier_id, mode, trigger, status, supplier_job_id, started_at, finished_at)
            SELECT CAST(:id AS uuid), id, :mode, 'api', :status, 'none', now(),
                CASE WHEN :status NOT IN ('queued', 'running', 'cancelling') THEN now() END
            FROM suppliers WHERE code = :supplier"""),
            {"id": run_id, "supplier": supplier, "status": status, "mode": mode},
        )
    return run_id


async def add_jobs(
    stack: Stack, run_id: str, *, queue: str, state: str, count: int = 1, direct: bool = False, error: str = "no"
) -> list[str]:
    """Jobs of a run in one state, with the run's counters to fit; an image job's address is the job's number."""
    noun = {"product-family": "families", "image-upload": "images", "supplier-sync": None}[queue]
    prefix = f"{queue}-{uuid4().hex[:8]}"
    async with stack.services.database.begin() as db:
        await db.execute(
            text("""
            INSERT INTO jobs (id, queue, run_id, supplier_id, key, args, state, direct, error, attempts, claim,
                              started_at, finished_at)
            SELECT :prefix || '-' || n, :queue, r.id, r.supplier_id, :prefix || '-' || n,
                jsonb_build_object('address_id', n), :state, :direct, CASE WHEN :state = 'failed' THEN :error END,
                CASE WHEN :state = 'failed' THEN 3 ELSE 0 END,
                CASE WHEN :state = 'active' THEN gen_random_uuid() END, now(),
                CASE WHEN :state IN ('completed', 'failed', 'cancelled') THEN now() END
            FROM runs r, generate_series(1, :count) n WHERE r.id = CAST(:run_id AS uuid)"""),
            {
                "prefix": prefix,
                "queue": queue,
                "run_id": run_id,
                "state": state,
                "count": count,
                "direct": direct,
                "error": error,
            },
        )
        if state in {"waiting", "active", "delayed"}:
            await _count(db, run_id, "open_jobs", count)
        if noun is not None:
            await _count(db, run_id, f"{noun}_total", count)
        if noun is not None and state in {"failed", "cancelled"}:
            await _count(db, run_id, f"{noun}_{state}", count)
    return [f"{prefix}-{n}" for n in range(1, count + 1)]


async def _count(db: AsyncConnection, run_id: str, column: str, number: int) -> None:
    await db.execute(
        text(f"UPDATE runs SET {column} = {column} + :number WHERE id = CAST(:id AS uuid)"),
        {"number": number, "id": run_id},
    )
