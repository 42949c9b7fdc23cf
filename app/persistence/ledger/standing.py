"""How another job stands, for one that waits for it."""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.statements import ask
from app.persistence.states import OPEN_JOB


class Standing(msgspec.Struct, frozen=True):
    """How a job stands."""

    is_open: bool
    due_in_s: float
    """Until it may run, when it is open; below zero when it may already."""
    failure: str | None
    """Its error, when it failed."""
    kind: str | None
    """That error's kind, as among the problems of its run."""


async def standing_of(db: AsyncConnection, job_id: str) -> Standing | None:
    """How a job stands; None when there is none."""
    rows = await ask(
        db,
        f"""
        SELECT j.state IN {OPEN_JOB} AS is_open,
            CAST(EXTRACT(epoch FROM j.run_at - clock_timestamp()) AS double precision) AS due_in_s,
            CASE WHEN j.state = 'failed' THEN j.error END AS failure,
            (SELECT p.kind FROM problems p WHERE p.job_id = j.id AND p.severity = 'error'
             ORDER BY p.id DESC LIMIT 1) AS kind
        FROM jobs j WHERE j.id = :id""",
        {"id": job_id},
    )
    return next((Standing(**row) for row in rows), None)
