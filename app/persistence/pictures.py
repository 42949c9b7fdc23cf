"""Pictures: addresses, the media behind them, and which of them a variant shows, by generation.

The family stage writes which addresses a variant shows as a new generation. Readers see the newest generation with
nothing pending, until then the one before; for a first generation, what is there (ENGINE.md 6). `shown_generation` 0
says that the first one is still incomplete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

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


class StoredPicture(msgspec.Struct, frozen=True):
    """A picture whose bytes are in the object store."""

    address_id: int
    sha256: bytes
    key: str
    content_type: str
    width: int
    height: int
    size_bytes: int
    etag: str | None
    last_modified: str | None


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
    """Make addresses known, and hold those that are not stored yet until the end of the transaction.

    Called before the variants are locked: an image job locks its address first too, then the variants that name it. So
    it either commits before this, and its picture is seen, or after, and then it sees the new generation.
    """
    rows = to_json([{"hash": url_sha256(url).hex(), "url": url} for url in sorted(set(urls))])
    await db.execute(
        text("""
        INSERT INTO addresses (url_sha256, url)
        SELECT decode(r.hash, 'hex'), r.url FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(hash text, url text)
        WHERE NOT EXISTS (SELECT FROM addresses a WHERE a.url_sha256 = decode(r.hash, 'hex'))
        ORDER BY r.hash ON CONFLICT (url_sha256) DO NOTHING"""),
        {"rows": rows},
    )
    await db.execute(
        text("""
        SELECT 1 FROM addresses a WHERE a.state <> 'stored' AND a.url_sha256 IN (
            SELECT decode(r.hash, 'hex') FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(hash text))
        ORDER BY a.id FOR SHARE"""),
        {"rows": rows},
    )


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
    """Show the newest generation of those variants that wait for no picture; returns those that had another before.

    The caller holds the variants' rows and calls this as a statement of its own, so that it sees what the last holder
    committed: of two transactions that settle a generation's last two addresses, the second one sees both.
    """
    if not variant_ids:
        return []
    rows = await db.execute(
        text("""
        WITH settled AS (
            SELECT v.id, v.shown_generation AS before FROM variants v
            WHERE v.id = ANY(CAST(:ids AS bigint[])) AND v.shown_generation <> v.generation AND NOT EXISTS (
                SELECT FROM shown_pictures s JOIN addresses a ON a.id = s.address_id
                WHERE s.variant_id = v.id AND s.generation = v.generation AND a.state = 'pending'))
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


async def known_media(db: AsyncConnection, hashes: Sequence[bytes]) -> dict[bytes, str]:
    """The object keys of those of these pictures, by sha256, that are stored."""
    rows = await db.execute(
        text("SELECT sha256, key FROM media WHERE sha256 = ANY(CAST(:hashes AS bytea[]))"), {"hashes": list(hashes)}
    )
    return {row.sha256: row.key for row in rows}


async def record_stored(db: AsyncConnection, pictures: Sequence[StoredPicture]) -> set[int]:
    """Record stored pictures and link their addresses; returns the addresses whose bytes were new to us."""
    if not pictures:
        return set()
    rows = to_json([{**msgspec.to_builtins(picture), "sha256": picture.sha256.hex()} for picture in pictures])
    record = """jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(address_id bigint, sha256 text, key text,
        content_type text, width int, height int, size_bytes bigint, etag text, last_modified text)"""
    new = await db.scalars(
        text(f"""
        INSERT INTO media (sha256, key, content_type, width, height, size_bytes)
        SELECT DISTINCT ON (r.sha256) decode(r.sha256, 'hex'), r.key, r.content_type, r.width, r.height, r.size_bytes
        FROM {record} ORDER BY r.sha256 ON CONFLICT (sha256) DO NOTHING RETURNING encode(sha256, 'hex')"""),
        {"rows": rows},
    )
    fresh = set(new)
    await db.execute(
        text(f"""
        WITH mine AS (
            SELECT a.id, m.id AS media_id, r.etag, r.last_modified FROM {record}
            JOIN media m ON m.sha256 = decode(r.sha256, 'hex') JOIN addresses a ON a.id = r.address_id
            ORDER BY a.id FOR NO KEY UPDATE OF a)
        UPDATE addresses a SET state = 'stored', media_id = mine.media_id, etag = mine.etag,
            last_modified = mine.last_modified, checked_at = clock_timestamp(), failures = 0, next_try_at = NULL,
            error = NULL FROM mine WHERE a.id = mine.id"""),
        {"rows": rows},
    )
    return _first_of_each(pictures, fresh)


def _first_of_each(pictures: Sequence[StoredPicture], fresh: set[str]) -> set[int]:
    """Of several addresses in one batch with the same new bytes, one counts as uploaded."""
    first: dict[str, int] = {}
    for picture in pictures:
        if picture.sha256.hex() in fresh:
            first.setdefault(picture.sha256.hex(), picture.address_id)
    return set(first.values())


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
    await db.execute(
        text("UPDATE addresses SET checked_at = clock_timestamp() WHERE id = ANY(CAST(:ids AS bigint[]))"),
        {"ids": list(address_ids)},
    )


async def lock_showing(db: AsyncConnection, address_ids: Sequence[int]) -> list[int]:
    """Hold the variants that name these addresses, in the order of SKUs; returns their ids."""
    rows = await db.scalars(
        text("""
        SELECT v.id FROM variants v WHERE v.id IN (
            SELECT variant_id FROM shown_pictures WHERE address_id = ANY(CAST(:ids AS bigint[])))
        ORDER BY v.supplier_id, v.sku FOR NO KEY UPDATE"""),
        {"ids": list(address_ids)},
    )
    return list(rows)


async def showing_already(db: AsyncConnection, address_ids: Sequence[int]) -> list[FlippedVariant]:
    """The variants whose shown generation names these addresses: pictures that came after the rest was shown."""
    rows = await db.execute(
        text("""
        SELECT DISTINCT v.supplier_id, v.sku, p.sku AS product_sku FROM shown_pictures s
        JOIN variants v ON v.id = s.variant_id AND s.generation = v.shown_generation
        JOIN products p ON p.id = v.product_id
        WHERE s.address_id = ANY(CAST(:ids AS bigint[])) ORDER BY v.supplier_id, v.sku"""),
        {"ids": list(address_ids)},
    )
    return [FlippedVariant(row.supplier_id, row.sku, row.product_sku) for row in rows]


async def states(db: AsyncConnection, address_ids: Sequence[int]) -> dict[int, str]:
    """Lock addresses, by id, and return the state of each."""
    rows = await db.execute(
        text("SELECT id, state FROM addresses WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE"),
        {"ids": list(address_ids)},
    )
    return {row.id: row.state for row in rows}


async def touch_products_showing(db: AsyncConnection, flipped: Sequence[FlippedVariant]) -> None:
    """Note that products changed just now, since pictures of their variants did."""
    pairs = sorted({(item.supplier_id, item.product_sku) for item in flipped})
    await db.execute(
        text("""
        UPDATE products SET updated_at = clock_timestamp() WHERE id IN (
            SELECT p.id FROM products p
            JOIN jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(supplier_id int, sku text)
              ON r.supplier_id = p.supplier_id AND r.sku = p.sku COLLATE "C" ORDER BY p.sku FOR NO KEY UPDATE)"""),
        {"rows": to_json([{"supplier_id": supplier_id, "sku": sku} for supplier_id, sku in pairs])},
    )
