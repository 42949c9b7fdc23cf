"""Which addresses are to be asked: unsettled ones, and stored ones that are to be checked by now."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def unsettled_addresses(db: AsyncConnection, variant_ids: Sequence[int], *, all_of_them: bool) -> list[int]:
    """The addresses that the newest generations of these variants wait for, or all that they name; sorted."""
    rows = await db.scalars(
        text("""
        SELECT DISTINCT a.id FROM variants v
        JOIN shown_pictures s ON s.variant_id = v.id AND s.generation = v.generation
        JOIN addresses a ON a.id = s.address_id
        WHERE v.id = ANY(CAST(:ids AS bigint[])) AND (:all_of_them OR (a.state <> 'stored'
            AND (a.next_try_at IS NULL OR a.next_try_at <= clock_timestamp()))) ORDER BY a.id"""),
        {"ids": list(variant_ids), "all_of_them": all_of_them},
    )
    return list(rows)


async def unsettled_of_supplier(db: AsyncConnection, supplier_id: int) -> list[int]:
    """Addresses that the supplier's variants name and that failed, were cancelled or never finished; sorted."""
    rows = await db.scalars(
        text("""
        SELECT a.id FROM addresses a WHERE a.state <> 'stored'
          AND (a.next_try_at IS NULL OR a.next_try_at <= clock_timestamp()) AND EXISTS (
            SELECT FROM shown_pictures s JOIN variants v ON v.id = s.variant_id
            WHERE s.address_id = a.id AND v.supplier_id = :supplier_id AND v.status = 'active') ORDER BY a.id"""),
        {"supplier_id": supplier_id},
    )
    return list(rows)


async def due_for_checking(db: AsyncConnection, supplier_id: int, days: int) -> list[int]:
    """Stored addresses that the supplier's variants name and that were last asked `days` days ago; sorted."""
    rows = await db.scalars(
        text("""
        SELECT a.id FROM addresses a WHERE a.state = 'stored'
          AND a.checked_at <= clock_timestamp() - make_interval(days => :days)
          AND (a.next_try_at IS NULL OR a.next_try_at <= clock_timestamp()) AND EXISTS (
            SELECT FROM shown_pictures s JOIN variants v ON v.id = s.variant_id
            WHERE s.address_id = a.id AND v.supplier_id = :supplier_id AND v.status = 'active') ORDER BY a.id"""),
        {"supplier_id": supplier_id, "days": days},
    )
    return list(rows)
