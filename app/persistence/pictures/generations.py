"""Which addresses a variant shows, a generation at a time, and when readers see the next one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.pictures.addresses import url_sha256
from app.persistence.pictures.rows import FlippedVariant
from app.persistence.statements import ask


async def write_generations(
    db: AsyncConnection, shown: Mapping[int, tuple[bytes, Sequence[Mapping[str, Any]]]]
) -> None:
    """Write a new generation of shown pictures for each of these variants: id to (digest, pictures in order).

    The caller holds the addresses (`hold_addresses`) and the variants.
    """
    if not shown:
        return
    await ask(
        db,
        """
        UPDATE variants v SET generation = v.generation + 1, pictures_digest = r.digest,
            shown_generation = CASE WHEN v.shown_generation = 0 THEN v.generation ELSE v.shown_generation END
        FROM unnest(CAST(:ids AS bigint[]), CAST(:digests AS bytea[])) AS r(id, digest) WHERE v.id = r.id""",
        {"ids": list(shown), "digests": [digest for digest, _ in shown.values()]},
    )
    await write_shown(db, {key: pictures for key, (_, pictures) in shown.items()})
    await _forget_generations(db, list(shown))


async def write_shown(db: AsyncConnection, shown: Mapping[int, Sequence[Mapping[str, Any]]]) -> None:
    """Write what the newest generation of each of these variants names: id to pictures in order."""
    rows = [(key, picture) for key, pictures in shown.items() for picture in pictures]
    if not rows:
        return
    await ask(
        db,
        """
        INSERT INTO shown_pictures (variant_id, generation, position, role, address_id)
        SELECT v.id, v.generation, r.position, r.role, a.id
        FROM unnest(CAST(:variants AS bigint[]), CAST(:positions AS int[]), CAST(:roles AS text[]),
                    CAST(:addresses AS bytea[])) AS r(variant_id, position, role, address)
        JOIN variants v ON v.id = r.variant_id JOIN addresses a ON a.url_sha256 = r.address""",
        {
            "variants": [key for key, _ in rows],
            "positions": [picture["position"] for _, picture in rows],
            "roles": [picture["role"] for _, picture in rows],
            "addresses": [url_sha256(picture["url"]) for _, picture in rows],
        },
    )


async def _forget_generations(db: AsyncConnection, variant_ids: Sequence[int]) -> None:
    """Delete generations that are neither the newest nor the shown one."""
    if not variant_ids:
        return
    await ask(
        db,
        """
        DELETE FROM shown_pictures s USING variants v
        WHERE v.id = ANY(CAST(:ids AS bigint[])) AND s.variant_id = v.id
          AND s.generation NOT IN (v.generation, v.shown_generation)""",
        {"ids": list(variant_ids)},
    )


def _seen(generation: str, media: str) -> str:
    """SQL: what readers see of generation `generation` of variant v; the address a leads to `media`."""
    return f"""COALESCE((
        SELECT jsonb_agg(jsonb_build_object('role', s.role, 'position', s.position, 'sha256', encode(m.sha256, 'hex'))
            ORDER BY s.position)
        FROM shown_pictures s JOIN addresses a ON a.id = s.address_id
        LEFT JOIN led_to l ON l.id = a.id JOIN media m ON m.id = {media}
        WHERE s.variant_id = v.id AND s.generation = {generation}), '[]')"""


LED_TO = """led_to AS (
    SELECT * FROM unnest(CAST(:moved AS bigint[]), CAST(:media AS bigint[])) AS l(id, media_id))"""
THEN, NOW = "CASE WHEN l.id IS NULL THEN a.media_id ELSE l.media_id END", "a.media_id"


async def show_settled(
    db: AsyncConnection, variant_ids: Sequence[int], led_to: Mapping[int, int | None] | None = None
) -> list[FlippedVariant]:
    """Show the newest generation of those variants that wait for no picture; returns them.

    The caller holds the variants' rows and calls this as a statement of its own, so that it sees what the last holder
    committed: of two transactions that settle a generation's last two addresses, the second one sees both. A variant or
    a family that is discontinued takes nothing; put so, no plan reads the index of all that are active. Nor is EXISTS
    asked whether what was shown is complete: that would be answered from all pictures and all that are pending.

    Args:
        db: the transaction.
        variant_ids: the variants that may wait for nothing any more.
        led_to: the media of addresses from before this transaction, where they lead elsewhere now.
    """
    if not variant_ids:
        return []
    flipped = await ask(
        db,
        f"""
        WITH {LED_TO}, settled AS (
            SELECT v.id, p.sku AS product_sku, v.shown_generation AS before,
                {_seen("v.shown_generation", THEN)} AS old,
                {_seen("v.generation", NOW).replace("LEFT JOIN led_to l ON l.id = a.id", "")} AS new,
                (SELECT true FROM shown_pictures s JOIN addresses a ON a.id = s.address_id AND a.state = 'pending'
                 WHERE s.variant_id = v.id AND s.generation = v.shown_generation LIMIT 1) IS NOT NULL AS untold
            FROM variants v JOIN products p ON p.id = v.product_id CROSS JOIN LATERAL (
                SELECT count(*) AS named, count(*) FILTER (WHERE a.state = 'pending') AS pending,
                    count(*) FILTER (WHERE a.state = 'stored') AS stored
                FROM shown_pictures s JOIN addresses a ON a.id = s.address_id
                WHERE s.variant_id = v.id AND s.generation = v.generation) w
            WHERE v.id = ANY(CAST(:ids AS bigint[])) AND v.shown_generation <> v.generation
              AND v.status <> 'discontinued' AND p.status <> 'discontinued'
              AND w.pending = 0 AND (w.stored > 0 OR w.named = 0))
        UPDATE variants v SET shown_generation = v.generation,
            updated_at = CASE WHEN settled.untold OR settled.old <> settled.new THEN clock_timestamp()
                              ELSE v.updated_at END
        FROM settled WHERE v.id = settled.id AND v.id = ANY(ARRAY(SELECT id FROM settled))
        RETURNING v.id, v.supplier_id, v.sku, settled.product_sku, settled.before, settled.untold, settled.old,
            settled.new, true AS stamped""",
        {"ids": list(variant_ids), **_moved(led_to)},
    )
    await _forget_generations(db, [row.id for row in flipped if row.before])  # there is none before a first one
    return [_flipped(row) for row in flipped]


def _moved(led_to: Mapping[int, int | None] | None) -> dict[str, Any]:
    return {"moved": list(led_to or {}), "media": list((led_to or {}).values())}


def _flipped(row: Any) -> FlippedVariant:
    return FlippedVariant(row.id, row.supplier_id, row.sku, row.product_sku, row.old, row.new, row.untold, row.stamped)


async def lock_showing(db: AsyncConnection, address_ids: Sequence[int]) -> dict[int, int]:
    """Hold the products, then the variants, that name these addresses, in the order of SKUs.

    Returns which generation each variant shows, by its id; 0 while its first one is incomplete and may be complete some
    day, as that of a variant that is discontinued may not.
    """
    await ask(
        db,
        """
        SELECT FROM products p WHERE p.id IN (
            SELECT v.product_id FROM shown_pictures s JOIN variants v ON v.id = s.variant_id
            WHERE s.address_id = ANY(CAST(:ids AS bigint[]))) ORDER BY p.supplier_id, p.sku FOR NO KEY UPDATE""",
        {"ids": list(address_ids)},
    )
    rows = await ask(
        db,
        """
        SELECT v.id, CASE WHEN v.status = 'discontinued' THEN v.generation ELSE v.shown_generation END AS shows
        FROM variants v WHERE v.id IN (
            SELECT variant_id FROM shown_pictures WHERE address_id = ANY(CAST(:ids AS bigint[])))
        ORDER BY v.supplier_id, v.sku FOR NO KEY UPDATE""",
        {"ids": list(address_ids)},
    )
    return {row.id: row.shows for row in rows}


SHOWING_ALREADY = f"""
    WITH {LED_TO}, touched AS (
        SELECT DISTINCT v.id, s.generation
        FROM (SELECT variant_id, generation, address_id FROM shown_pictures
              WHERE address_id = ANY(CAST(:moved AS bigint[])) OFFSET 0) s
        CROSS JOIN LATERAL (SELECT id, status, shown_generation FROM variants WHERE id = s.variant_id OFFSET 0) v
        WHERE v.id <> ALL(CAST(:but_not AS bigint[]))
          AND (s.generation = v.shown_generation
               OR v.shown_generation = 0 AND (v.status = 'discontinued'
                                              OR s.address_id = ANY(CAST(:replaced AS bigint[])))))
    SELECT v.id, v.supplier_id, v.sku, p.sku AS product_sku, {_seen("touched.generation", THEN)} AS old,
        {_seen("touched.generation", NOW)} AS new, false AS untold, false AS stamped
    FROM touched JOIN variants v ON v.id = touched.id JOIN products p ON p.id = v.product_id"""
"""OFFSET 0 keeps the order as it is written, from the addresses on, as in `addresses.ADDRESSES`."""


async def showing_already(
    db: AsyncConnection, led_to: Mapping[int, int | None], *, but_not: Collection[int]
) -> list[FlippedVariant]:
    """The variants that may look otherwise now, though they show the generation that they showed.

    One of a first generation that still waits for others is told of when that is complete, or when a picture of it that
    was to be seen already is another one now. So there are none where all wait for their first generation, and no
    address led anywhere before.

    What is discontinued is among them. It takes no other generation and nothing is asked for it, but an address that it
    shares leads to one picture, whoever had it fetched, and a change that readers see is told.

    Args:
        db: the transaction that settled the addresses, after what waited for them was shown.
        led_to: those addresses, and which media each of them led to before.
        but_not: the ids of the variants that this transaction shows otherwise already.
    """
    replaced = [address_id for address_id, media_id in led_to.items() if media_id is not None]
    given = {"replaced": replaced, "but_not": list(but_not), **_moved(led_to)}
    rows = await ask(db, SHOWING_ALREADY, given)
    return [_flipped(row) for row in rows]


async def touch_products_showing(db: AsyncConnection, flipped: Sequence[FlippedVariant]) -> None:
    """Note that these variants and their products changed just now; the caller holds both.

    A first generation of which something was told counts as shown from then on: what comes next is told as a change of
    that, and not once more as one of nothing.
    """
    if not flipped:
        return
    unstamped = [item.id for item in flipped if not item.stamped]
    if unstamped:
        await ask(
            db,
            """
            UPDATE variants SET updated_at = clock_timestamp(),
                shown_generation = CASE WHEN shown_generation = 0 THEN generation ELSE shown_generation END
            WHERE id = ANY(CAST(:ids AS bigint[]))""",
            {"ids": unstamped},
        )
    await ask(
        db,
        """
        UPDATE products SET updated_at = clock_timestamp() WHERE id IN (
            SELECT p.id FROM products p WHERE p.id = ANY(ARRAY(
                SELECT product_id FROM variants WHERE id = ANY(CAST(:ids AS bigint[]))))
            ORDER BY p.supplier_id, p.sku FOR NO KEY UPDATE)""",
        {"ids": [item.id for item in flipped]},
    )
