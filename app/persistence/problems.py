"""Problems: everything that a run could not read, fetch or write, each with its address and reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger import bounded, to_json
from app.persistence.statements import text


class Problem(msgspec.Struct, frozen=True):
    """One thing that went wrong; `reason` names no address, so that equal reasons can be counted."""

    severity: Literal["error", "warning"]
    stage: Literal["supplier", "family", "image"]
    kind: str
    reason: str
    url: str | None = None
    sku: str | None = None
    line: int | None = None
    job_id: str | None = None


async def add_problems(db: AsyncConnection, run_id: str, problems: Sequence[Problem]) -> None:
    """Write problems of a run, all in one statement."""
    await add_problems_of(db, [(run_id, problem) for problem in problems])


async def add_problems_of(db: AsyncConnection, problems: Sequence[tuple[str, Problem]]) -> None:
    """The same for several runs: run and problem each."""
    if not problems:
        return
    rows = [msgspec.structs.replace(problem, reason=bounded(problem.reason)) for _, problem in problems]
    await db.execute(
        text("""
        INSERT INTO problems (run_id, severity, stage, kind, url, sku, line, reason, job_id)
        SELECT r.run_id, r.severity, r.stage, r.kind, r.url, r.sku, r.line, r.reason, r.job_id
        FROM ROWS FROM (
            jsonb_to_recordset(CAST(:rows AS jsonb)) AS (severity text, stage text, kind text, url text, sku text,
                line int, reason text, job_id text),
            unnest(CAST(:runs AS uuid[])))
            AS r(severity, stage, kind, url, sku, line, reason, job_id, run_id)"""),
        {"runs": [run_id for run_id, _ in problems], "rows": to_json(rows)},
    )


async def forget_warnings(db: AsyncConnection, families: Sequence[tuple[str, int, str]]) -> None:
    """Drop what an earlier job of a run warned of a family: run, supplier and SKU each.

    By the addresses of its documents, those among them that are known to be gone by now.
    """
    if not families:
        return
    await db.execute(
        text("""
        DELETE FROM problems p
        USING unnest(CAST(:runs AS uuid[]), CAST(:suppliers AS int[]), CAST(:skus AS text[])) AS t(run_id, owner, sku)
        CROSS JOIN LATERAL (SELECT url FROM documents WHERE supplier_id = t.owner AND family_sku = t.sku OFFSET 0) d
        WHERE p.run_id = t.run_id AND p.url = d.url AND p.stage = 'family' AND p.severity = 'warning'"""),
        {
            "runs": [run_id for run_id, _, _ in families],
            "suppliers": [supplier_id for _, supplier_id, _ in families],
            "skus": [sku for _, _, sku in families],
        },
    )


async def forget_problems(db: AsyncConnection, run_id: str, kinds: Sequence[str]) -> None:
    """Drop what an earlier attempt reported, since it is about to report the same anew."""
    await db.execute(
        text("DELETE FROM problems WHERE run_id = CAST(:run_id AS uuid) AND kind = ANY(CAST(:kinds AS text[]))"),
        {"run_id": run_id, "kinds": list(kinds)},
    )
