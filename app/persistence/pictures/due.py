"""Which addresses are to be asked: unsettled ones, and stored ones that are to be checked by now."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


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
