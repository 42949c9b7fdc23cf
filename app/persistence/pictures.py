"""Pictures: addresses, how they are settled, and which of them a variant shows, by generation.

The family stage writes which addresses a variant shows as a new generation. Readers see the newest generation with
nothing pending, until then the one before; for a first generation, what is there (ENGINE.md 6). `shown_generation` 0
says that the first one is still incomplete. A generation whose pictures have failed one and all is not shown in place
of one before it: the variant keeps what it has until one of them comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.database import RepeatTransaction
from app.persistence.ledger import to_json


class Address(msgspec.Struct, frozen=True):
    """A picture's address, as an image job needs it."""

    id: int
    url: str
    state: str
    etag: str | None
    last_modified: str | None
    named: bool
    """Whether some variant's generation still names it."""
    key: str | None
    size_bytes: int | None
    """Where its media is stored, and its size, when it is."""


class FailedPicture(msgspec.Struct, frozen=True):
    """An address whose picture could not be had."""

    address_id: int
    reason: str
    dead: bool


class FlippedVariant(msgspec.Struct, frozen=True):
    """A variant whose visible pictures changed."""

    supplier_id: int
    sku: str
    product_sku: str


async def hold_addresses(db: AsyncConnection, urls: Sequence[str]) -> None:
    """Make addresses known, and hold them until the end of the transaction.

    Called before products and variants are locked: an image job locks its address first too, then what names it. So it
    either commits before this, and its picture is seen, or after, and then it sees the new generation. What is stored
    is held only against what would make it lead elsewhere, or away.

    Raises:
        RepeatTransaction: one of them was forgotten meanwhile.
    """
    hashes = sorted({url_sha256(url): url for url in urls}.items())
    rows = to_json([{"hash": sha256.hex(), "url": url} for sha256, url in hashes])
    await db.execute(
        text("""
        INSERT INTO addresses (url_sha256, url)
        SELECT decode(r.hash, 'hex'), r.url FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(hash text, url text)
        WHERE NOT EXISTS (SELECT FROM addresses a WHERE a.url_sha256 = decode(r.hash, 'hex'))
        ORDER BY r.hash ON CONFLICT (url_sha256) DO NOTHING"""),
        {"rows": rows},
    )
    known = {"hashes": [sha256 for sha256, _ in hashes]}
    held = await db.execute(text(f"SELECT a.state FROM addresses a {_OF_HASHES} ORDER BY a.id FOR KEY SHARE"), known)
    states_held = held.scalars().all()
    if len(states_held) < len(hashes):
        raise RepeatTransaction
    if any(state != "stored" for state in states_held):
        await db.execute(
            text(f"SELECT FROM addresses a {_OF_HASHES} AND a.state <> 'stored' ORDER BY a.id FOR SHARE"), known
        )


_OF_HASHES = "WHERE a.url_sha256 = ANY(CAST(:hashes AS bytea[]))"


async def write_generations(
    db: AsyncConnection, shown: Mapping[int, tuple[bytes, Sequence[Mapping[str, Any]]]]
) -> None:
    """Write a new generation of shown pictures for each variant: id to (digest, pictures in order).

    The caller holds the addresses (`hold_addresses`) and the variants.
    """
    if not shown:
        return
    await db.execute(
        text("""
        UPDATE variants v SET generation = v.generation + 1, pictures_digest = decode(r.digest, 'hex'),
            shown_generation = CASE WHEN v.shown_generation = 0 THEN v.generation ELSE v.shown_generation END
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id bigint, digest text) WHERE v.id = r.id"""),
        {"rows": to_json([{"id": key, "digest": value[0].hex()} for key, value in shown.items()])},
    )
    rows = [
        {
            "variant_id": key,
            "position": picture["position"],
            "role": picture["role"],
            "address": url_sha256(picture["url"]).hex(),
        }
        for key, (_, pictures) in shown.items()
        for picture in pictures
    ]
    await db.execute(
        text("""
        INSERT INTO shown_pictures (variant_id, generation, position, role, address_id)
        SELECT v.id, v.generation, r.position, r.role, a.id
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(variant_id bigint, position int, role text, address text)
        JOIN variants v ON v.id = r.variant_id JOIN addresses a ON a.url_sha256 = decode(r.address, 'hex')"""),
        {"rows": to_json(rows)},
    )
    await _forget_generations(db, list(shown))


def url_sha256(url: str) -> bytes:
    """An address's key: addresses may be longer than an index entry may be."""
    return hashlib.sha256(url.encode()).digest()


async def _forget_generations(db: AsyncConnection, variant_ids: Sequence[int]) -> None:
    """Delete generations that are neither the newest nor the shown one."""
    await db.execute(
        text("""
        DELETE FROM shown_pictures s USING variants v
        WHERE v.id = ANY(CAST(:ids AS bigint[])) AND s.variant_id = v.id
          AND s.generation NOT IN (v.generation, v.shown_generation)"""),
        {"ids": list(variant_ids)},
    )


async def show_settled(db: AsyncConnection, variant_ids: Sequence[int]) -> list[FlippedVariant]:
    """Show the newest generation of those variants that wait for no picture; returns those that show another now.

    The caller holds the variants' rows and calls this as a statement of its own, so that it sees what the last holder
    committed: of two transactions that settle a generation's last two addresses, the second one sees both.
    """
    if not variant_ids:
        return []
    rows = await db.execute(
        text("""
        WITH settled AS (
            SELECT v.id, v.shown_generation AS before FROM variants v
            CROSS JOIN LATERAL (
                SELECT count(*) AS named, count(*) FILTER (WHERE a.state = 'pending') AS pending,
                    count(*) FILTER (WHERE a.state = 'stored') AS stored
                FROM shown_pictures s JOIN addresses a ON a.id = s.address_id
                WHERE s.variant_id = v.id AND s.generation = v.generation) p
            WHERE v.id = ANY(CAST(:ids AS bigint[])) AND v.shown_generation <> v.generation
              AND p.pending = 0 AND (p.stored > 0 OR p.named = 0))
        UPDATE variants v SET shown_generation = v.generation FROM settled, products p
        WHERE v.id = settled.id AND p.id = v.product_id
        RETURNING v.id, v.supplier_id, v.sku, p.sku AS product_sku, v.status"""),
        {"ids": list(variant_ids)},
    )
    flipped = rows.all()
    await _forget_generations(db, [row.id for row in flipped])
    return [FlippedVariant(row.supplier_id, row.sku, row.product_sku) for row in flipped]


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


async def addresses(db: AsyncConnection, ids: Sequence[int]) -> dict[int, Address]:
    """What image jobs need to know of their addresses, by id."""
    rows = await db.execute(
        text("""
        SELECT a.id, a.url, a.state, a.etag, a.last_modified, m.key, m.size_bytes,
            EXISTS (SELECT FROM shown_pictures s WHERE s.address_id = a.id) AS named
        FROM addresses a LEFT JOIN media m ON m.id = a.media_id WHERE a.id = ANY(CAST(:ids AS bigint[]))"""),
        {"ids": list(ids)},
    )
    return {row["id"]: Address(**row) for row in rows.mappings()}


async def record_failed(db: AsyncConnection, pictures: Sequence[FailedPicture]) -> None:
    """Record addresses that failed; what is stored already stays, and what is dead is asked for with growing pauses."""
    if not pictures:
        return
    await db.execute(
        text("""
        WITH mine AS (
            SELECT a.id, r.reason, r.dead
            FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(address_id bigint, reason text, dead boolean)
            JOIN addresses a ON a.id = r.address_id ORDER BY a.id FOR NO KEY UPDATE OF a)
        UPDATE addresses a SET state = CASE WHEN a.state = 'stored' THEN 'stored' ELSE 'failed' END,
            failures = a.failures + 1, error = mine.reason, checked_at = clock_timestamp(),
            next_try_at = CASE WHEN mine.dead AND a.failures >= 2 THEN clock_timestamp()
                + LEAST(interval '1 day', interval '10 min' * power(2, LEAST(a.failures - 2, 10))) END
        FROM mine WHERE a.id = mine.id"""),
        {"rows": to_json([{**msgspec.to_builtins(picture), "reason": picture.reason[:500]} for picture in pictures])},
    )


async def record_unchanged(db: AsyncConnection, address_ids: Sequence[int]) -> None:
    """Record that the origin still has the same bytes at these addresses."""
    if not address_ids:
        return
    await db.execute(
        text("""
        UPDATE addresses SET checked_at = clock_timestamp(), failures = 0, next_try_at = NULL, error = NULL
        WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'stored'"""),
        {"ids": list(address_ids)},
    )


async def lock_showing(db: AsyncConnection, address_ids: Sequence[int]) -> list[int]:
    """Hold the products, then the variants, that name these addresses, in the order of SKUs; returns variants' ids."""
    await db.execute(
        text("""
        SELECT FROM products p WHERE p.id IN (
            SELECT v.product_id FROM shown_pictures s JOIN variants v ON v.id = s.variant_id
            WHERE s.address_id = ANY(CAST(:ids AS bigint[]))) ORDER BY p.supplier_id, p.sku FOR NO KEY UPDATE"""),
        {"ids": list(address_ids)},
    )
    rows = await db.scalars(
        text("""
        SELECT v.id FROM variants v WHERE v.id IN (
            SELECT variant_id FROM shown_pictures WHERE address_id = ANY(CAST(:ids AS bigint[])))
        ORDER BY v.supplier_id, v.sku FOR NO KEY UPDATE"""),
        {"ids": list(address_ids)},
    )
    return list(rows)


async def showing_already(db: AsyncConnection, arrived: Sequence[int], replaced: Sequence[int]) -> list[FlippedVariant]:
    """The variants that readers see otherwise now, though they show the generation that they showed.

    Args:
        db: the transaction that settled the addresses.
        arrived: addresses whose picture came after the rest was shown. One of a first generation that still waits for
            others is told of when that is complete.
        replaced: addresses that led to another picture before.
    """
    rows = await db.execute(
        text("""
        SELECT DISTINCT v.supplier_id, v.sku, p.sku AS product_sku FROM shown_pictures s
        JOIN variants v ON v.id = s.variant_id AND (s.generation = v.shown_generation
            OR v.shown_generation = 0 AND s.address_id = ANY(CAST(:replaced AS bigint[])))
        JOIN products p ON p.id = v.product_id
        WHERE s.address_id = ANY(CAST(:arrived AS bigint[]) || CAST(:replaced AS bigint[]))"""),
        {"arrived": list(arrived), "replaced": list(replaced)},
    )
    return [FlippedVariant(row.supplier_id, row.sku, row.product_sku) for row in rows]


class HeldAddress(msgspec.Struct, frozen=True):
    """What an address led to before this transaction."""

    state: str
    media_id: int | None


async def hold(db: AsyncConnection, address_ids: Sequence[int], *, alone: bool) -> dict[int, HeldAddress]:
    """Lock addresses, by id, and say what each leads to.

    `alone` keeps also those out who only name an address: for one that may lead elsewhere from now on.
    """
    strength = "UPDATE" if alone else "NO KEY UPDATE"
    rows = await db.execute(
        text(f"""
        SELECT id, state, media_id FROM addresses WHERE id = ANY(CAST(:ids AS bigint[]))
        ORDER BY id FOR {strength}"""),
        {"ids": list(address_ids)},
    )
    return {row.id: HeldAddress(row.state, row.media_id) for row in rows}


async def media_of(db: AsyncConnection, address_ids: Sequence[int]) -> dict[int, int | None]:
    """Which media each address leads to now."""
    rows = await db.execute(
        text("SELECT id, media_id FROM addresses WHERE id = ANY(CAST(:ids AS bigint[]))"), {"ids": list(address_ids)}
    )
    return {row.id: row.media_id for row in rows}


async def touch_products_showing(db: AsyncConnection, flipped: Sequence[FlippedVariant]) -> None:
    """Note that products changed just now, since pictures of their variants did."""
    if not flipped:
        return
    pairs = sorted({(item.supplier_id, item.product_sku) for item in flipped})
    await db.execute(
        text("""
        UPDATE products SET updated_at = clock_timestamp() WHERE id IN (
            SELECT p.id FROM products p
            JOIN jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(supplier_id int, sku text)
              ON r.supplier_id = p.supplier_id AND r.sku = p.sku COLLATE "C"
            ORDER BY p.supplier_id, p.sku FOR NO KEY UPDATE)"""),
        {"rows": to_json([{"supplier_id": supplier_id, "sku": sku} for supplier_id, sku in pairs])},
    )
