"""Reading the change feed, and what happened to one product."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.statements import text

ChangeRow = Mapping[str, Any]
"""One change: its columns by name, with `supplier` (its code), and `old` and `new` where a history is read.

`seq` is None until the sequencer has numbered it, some 100 ms after it was written.
"""


class FeedEnds(msgspec.Struct, frozen=True):
    """The last number that was handed out, and the last one that was forgotten."""

    head: int
    pruned: int
    head_at: datetime | None
    """When the last number's change was written, None where it is forgotten: after a restore numbers come again."""


COLUMNS = """c.id, c.seq, c.kind, c.entity, c.sku, c.product_sku, s.code AS supplier, c.fields,
    CAST(c.run_id AS text) AS run_id, c.at"""


FEED_ENDS = """
SELECT h.seq AS head, h.pruned_seq AS pruned, (SELECT c.at FROM changes c WHERE c.seq = h.seq) AS head_at
FROM change_head h
"""


async def feed_ends(db: AsyncConnection) -> FeedEnds:
    """Where the change feed begins and ends."""
    row = (await db.execute(text(FEED_ENDS))).one()
    return FeedEnds(*row)


CHANGES_SINCE = f"""
SELECT {COLUMNS} FROM changes c JOIN suppliers s ON s.id = c.supplier_id
WHERE c.seq > :since ORDER BY c.seq LIMIT :limit
"""


async def changes_since(db: AsyncConnection, since: int, limit: int) -> list[ChangeRow]:
    """The changes numbered after `since`, in order."""
    rows = await db.execute(text(CHANGES_SINCE), {"since": since, "limit": limit})
    return [dict(row) for row in rows.mappings()]


HISTORY = f"""
SELECT {COLUMNS}, c.old, c.new FROM changes c JOIN suppliers s ON s.id = c.supplier_id
WHERE c.supplier_id = :supplier_id AND c.product_sku = :sku AND c.id < :before_id ORDER BY c.id DESC LIMIT :limit
"""


async def history_of(db: AsyncConnection, supplier_id: int, sku: str, *, before_id: int, limit: int) -> list[ChangeRow]:
    """What changed about a product and its variants with old and new values, the newest first."""
    rows = await db.execute(
        text(HISTORY), {"supplier_id": supplier_id, "sku": sku, "before_id": before_id, "limit": limit}
    )
    return [dict(row) for row in rows.mappings()]


OF_RUN = f"""
SELECT {COLUMNS} FROM (SELECT * FROM changes WHERE run_id = CAST(:run_id AS uuid) LIMIT :limit) c
JOIN suppliers s ON s.id = c.supplier_id ORDER BY c.id
"""


async def changes_of_run(db: AsyncConnection, run_id: str, limit: int) -> list[ChangeRow]:
    """Some of the changes that a run made, in order; which ones is not said, so that a large run costs no more."""
    rows = await db.execute(text(OF_RUN), {"run_id": run_id, "limit": limit})
    return [dict(row) for row in rows.mappings()]
