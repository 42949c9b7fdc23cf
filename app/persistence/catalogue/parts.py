"""A variant's large parts, each in a row of its own: prices and imprint positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger import to_json
from app.persistence.packing import pack_json, unpack_json
from app.persistence.statements import ask


async def write_prices(db: AsyncConnection, rows: Sequence[tuple[int, Any]]) -> None:
    """Replace the price schedules of these variants, by id, as sets."""
    if not rows:
        return
    await ask(
        db,
        """
        INSERT INTO prices (variant_id, tiers)
        SELECT r.id, r.value FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id bigint, value jsonb) ORDER BY r.id
        ON CONFLICT (variant_id) DO UPDATE SET tiers = EXCLUDED.tiers""",
        {"rows": to_json([{"id": key, "value": value} for key, value in rows])},
    )


async def write_imprint(db: AsyncConnection, rows: Sequence[tuple[int, Any]]) -> None:
    """Replace the imprint positions of these variants, by id, as sets."""
    if not rows:
        return
    await ask(
        db,
        """
        INSERT INTO imprint_positions (variant_id, packed)
        SELECT r.id, r.packed FROM unnest(CAST(:ids AS bigint[]), CAST(:packed AS bytea[])) AS r(id, packed)
        ORDER BY r.id
        ON CONFLICT (variant_id) DO UPDATE SET packed = EXCLUDED.packed""",
        {"ids": [key for key, _ in rows], "packed": [pack_json(value) for _, value in rows]},
    )


async def stored_parts(db: AsyncConnection, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Content, prices and imprint positions as stored, by variant id: what the change feed calls the old values."""
    if not ids:
        return {}
    rows = await ask(
        db,
        """
        SELECT v.id, v.content, p.tiers AS prices, i.packed FROM variants v
        LEFT JOIN prices p ON p.variant_id = v.id LEFT JOIN imprint_positions i ON i.variant_id = v.id
        WHERE v.id = ANY(CAST(:ids AS bigint[]))""",
        {"ids": list(ids)},
    )
    return {
        row.id: {
            "content": row.content,
            "prices": row.prices,
            "imprint": None if row.packed is None else unpack_json(row.packed),
        }
        for row in rows
    }
