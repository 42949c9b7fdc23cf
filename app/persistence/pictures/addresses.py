"""Addresses: held in one order, found, and what came of asking them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.database import RepeatTransaction
from app.persistence.ledger import to_json
from app.persistence.pictures.rows import Address, FailedPicture, HeldAddress, NamedAddress
from app.persistence.statements import ask, column


async def hold_addresses(db: AsyncConnection, urls: Collection[str]) -> dict[str, NamedAddress]:
    """Make addresses known, hold them until the end of the transaction, and say how each one stands.

    Called before products and variants are locked: an image job locks its address first too, then what names it. So it
    either commits before this, and its picture is seen, or after, and then it sees the new generation. What is stored
    is held only against what would make it lead elsewhere, or away.

    Raises:
        RepeatTransaction: one of them was forgotten meanwhile.
    """
    hashes = dict(sorted((url_sha256(url), url) for url in set(urls)))
    if not hashes:
        return {}
    await ask(
        db,
        """
        INSERT INTO addresses (url_sha256, url)
        SELECT r.hash, r.url FROM unnest(CAST(:hashes AS bytea[]), CAST(:urls AS text[])) AS r(hash, url)
        WHERE (SELECT a.id FROM addresses a WHERE a.url_sha256 = r.hash LIMIT 1) IS NULL
        ORDER BY r.hash ON CONFLICT (url_sha256) DO NOTHING""",
        {"hashes": list(hashes), "urls": list(hashes.values())},
    )
    held = await _hold(db, hashes, "ORDER BY a.id FOR KEY SHARE OF a")
    if len(held) < len(hashes):
        raise RepeatTransaction
    if all(address.state == "stored" for address in held.values()):
        return held
    # once more and stronger: one that was settled while this waited for it is stored by now, and is left out
    return {url: msgspec.structs.replace(address, state="stored") for url, address in held.items()} | await _hold(
        db, hashes, "AND a.state <> 'stored' ORDER BY a.id FOR SHARE OF a"
    )


async def _hold(db: AsyncConnection, hashes: Mapping[bytes, str], how: str) -> dict[str, NamedAddress]:
    rows = await ask(
        db,
        f"""
        SELECT a.id, a.url_sha256, a.state, COALESCE(a.next_try_at <= clock_timestamp(), true) AS due
        FROM addresses a WHERE a.url_sha256 = ANY(CAST(:hashes AS bytea[])) {how}""",
        {"hashes": list(hashes)},
    )
    return {hashes[row.url_sha256]: NamedAddress(row.id, row.state, row.due) for row in rows}


def url_sha256(url: str) -> bytes:
    """An address's key: addresses may be longer than an index entry may be."""
    return hashlib.sha256(url.encode()).digest()


ADDRESSES = """
    SELECT a.id, a.url, a.state, a.etag, a.last_modified, m.key, m.size_bytes,
        (SELECT true FROM (SELECT variant_id FROM shown_pictures WHERE address_id = a.id OFFSET 0) s
         CROSS JOIN LATERAL (SELECT product_id FROM variants WHERE id = s.variant_id AND status = 'active' OFFSET 0) v
         CROSS JOIN LATERAL (SELECT FROM products WHERE id = v.product_id AND status = 'active' OFFSET 0) p
         LIMIT 1) IS NOT NULL AS named
    FROM addresses a LEFT JOIN media m ON m.id = a.media_id WHERE a.id = ANY(CAST(:ids AS bigint[]))"""
"""Neither EXISTS nor a join: in a catalogue that grows PostgreSQL takes what is active for a few rows, and reads it all
at each look. OFFSET 0 keeps the order as it is written."""


async def addresses(db: AsyncConnection, ids: Sequence[int]) -> dict[int, Address]:
    """What image jobs need to know of their addresses, by id."""
    rows = await ask(db, ADDRESSES, {"ids": list(ids)})
    return {row.id: Address(**row) for row in rows}


async def record_failed(db: AsyncConnection, pictures: Sequence[FailedPicture]) -> int:
    """Record addresses that failed; what is stored already stays, and what is dead is asked for with growing pauses.

    Returns how many are dead that failed the time before, too.
    """
    if not pictures:
        return 0
    again = await column(
        db,
        """
        WITH mine AS (
            SELECT a.id, r.reason, r.dead
            FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(address_id bigint, reason text, dead boolean)
            JOIN addresses a ON a.id = r.address_id ORDER BY a.id FOR NO KEY UPDATE OF a)
        UPDATE addresses a SET state = CASE WHEN a.state = 'stored' THEN 'stored' ELSE 'failed' END,
            failures = a.failures + 1, error = mine.reason, checked_at = clock_timestamp(),
            next_try_at = CASE WHEN mine.dead AND a.failures >= 2 THEN clock_timestamp()
                + LEAST(interval '1 day', interval '10 min' * power(2, LEAST(a.failures - 2, 10))) END
        FROM mine WHERE a.id = mine.id RETURNING mine.dead AND a.failures > 1""",
        {"rows": to_json([{**msgspec.to_builtins(picture), "reason": picture.reason[:500]} for picture in pictures])},
    )
    return again.count(True)


async def record_unchanged(db: AsyncConnection, address_ids: Sequence[int]) -> None:
    """Record that the origin still has the same bytes at these addresses."""
    if not address_ids:
        return
    await ask(
        db,
        """
        UPDATE addresses SET checked_at = clock_timestamp(), failures = 0, next_try_at = NULL, error = NULL
        WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'stored'""",
        {"ids": list(address_ids)},
    )


async def hold(db: AsyncConnection, address_ids: Sequence[int], *, alone: bool) -> dict[int, HeldAddress]:
    """Lock addresses, by id, and say what each leads to.

    `alone` keeps also those out who only name an address: for one that may lead elsewhere from now on.
    """
    strength = "UPDATE" if alone else "NO KEY UPDATE"
    rows = await ask(
        db,
        f"""
        SELECT id, state, media_id FROM addresses WHERE id = ANY(CAST(:ids AS bigint[]))
        ORDER BY id FOR {strength}""",
        {"ids": list(address_ids)},
    )
    return {row.id: HeldAddress(row.state, row.media_id) for row in rows}
