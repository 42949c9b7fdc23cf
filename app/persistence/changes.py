"""The change feed's rows: written unnumbered with the catalogue's own rows, numbered by a sequencer afterwards.

A number handed out at the insert would come out of order, since transactions commit out of order (ENGINE.md 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger import to_json
from app.persistence.statements import ask, value

NUMBERED_AT_ONCE = 5_000


class Change(msgspec.Struct, frozen=True):
    """One thing that changed about a product or a variant."""

    kind: Literal["created", "updated", "discontinued", "reactivated"]
    entity: Literal["product", "variant"]
    sku: str
    product_sku: str
    fields: tuple[str, ...] = ()
    old: dict[str, Any] | None = None
    """Old value by changed field."""
    new: dict[str, Any] | None = None


async def add_changes(db: AsyncConnection, *, supplier_id: int, run_id: str | None, changes: Sequence[Change]) -> None:
    """Write changes of a supplier in the order given, all in one statement."""
    await add_changes_of(db, [(supplier_id, run_id, change) for change in changes])


async def add_changes_of(db: AsyncConnection, changes: Sequence[tuple[int, str | None, Change]]) -> None:
    """The same for several suppliers: supplier, run and change each."""
    if not changes:
        return
    await ask(
        db,
        """
        INSERT INTO changes (kind, entity, supplier_id, sku, product_sku, fields, old, new, run_id)
        SELECT r.kind, r.entity, r.supplier_id, r.sku, r.product_sku,
            ARRAY(SELECT jsonb_array_elements_text(r.fields)), r.old, r.new, r.run_id
        FROM ROWS FROM (
            jsonb_to_recordset(CAST(:rows AS jsonb))
                AS (kind text, entity text, sku text, product_sku text, fields jsonb, old jsonb, new jsonb),
            unnest(CAST(:suppliers AS int[])), unnest(CAST(:runs AS uuid[])))
            WITH ORDINALITY AS r(kind, entity, sku, product_sku, fields, old, new, supplier_id, run_id, place)
        ORDER BY r.place""",
        {
            "rows": to_json([change for _, _, change in changes]),
            "suppliers": [supplier_id for supplier_id, _, _ in changes],
            "runs": [run_id for _, run_id, _ in changes],
        },
    )


async def told_in_run(db: AsyncConnection, variants: Sequence[tuple[str, int, str, str]]) -> set[tuple[str, int, str]]:
    """Which of these variants (run, supplier, SKU, and its product's) their run told of before: run, supplier, SKU."""
    if not variants:
        return set()
    rows = await ask(
        db,
        """
        SELECT DISTINCT CAST(r.run_id AS text), r.supplier_id, r.sku
        FROM unnest(CAST(:runs AS uuid[]), CAST(:suppliers AS int[]), CAST(:skus AS text[]), CAST(:products AS text[]))
            AS r(run_id, supplier_id, sku, product_sku)
        JOIN changes c ON c.supplier_id = r.supplier_id AND c.product_sku = r.product_sku AND c.run_id = r.run_id
            AND c.entity = 'variant' AND c.sku = r.sku""",
        {
            "runs": [run_id for run_id, *_ in variants],
            "suppliers": [supplier_id for _, supplier_id, _, _ in variants],
            "skus": [sku for *_, sku, _ in variants],
            "products": [product_sku for *_, product_sku in variants],
        },
    )
    return {(row[0], row[1], row[2]) for row in rows}


async def number_changes(db: AsyncConnection) -> int:
    """Number the oldest unnumbered changes, by id; 0 when there are none or another sequencer is at it.

    Two statements on purpose: the first waits for nothing and holds the head, the second sees what was committed by
    whoever held it before.
    """
    head = await value(db, "SELECT seq FROM change_head FOR UPDATE SKIP LOCKED")
    if head is None:
        return 0
    numbered = await value(
        db,
        """
        WITH oldest AS (SELECT id FROM changes WHERE seq IS NULL ORDER BY id LIMIT :most),
        numbered AS (SELECT id, :head + row_number() OVER (ORDER BY id) AS seq FROM oldest),
        written AS (UPDATE changes c SET seq = n.seq FROM numbered n WHERE c.id = n.id RETURNING c.seq)
        UPDATE change_head SET seq = seq + (SELECT count(*) FROM written)
        WHERE EXISTS (SELECT FROM written) RETURNING seq - :head""",
        {"head": head, "most": NUMBERED_AT_ONCE},
    )
    return int(numbered or 0)


async def any_unnumbered(db: AsyncConnection) -> bool:
    """Whether there is anything to number."""
    return bool(await value(db, "SELECT EXISTS (SELECT FROM changes WHERE seq IS NULL)"))
