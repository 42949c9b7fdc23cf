"""Media: which bytes are in the object store, how addresses come to lead to them, and how they are removed.

An image job relies on an object (it put it, or saw it) some time before it commits; `media orphans` removes objects
meanwhile. The two meet here:

    image job   removals of these bytes noted ─▶ put, or seen ─▶ commit: hold_removals, same number? ─▶ recorded
    removal     lock ─▶ nobody leads there ─▶ media row deleted, removals + 1 ─▶ commit ─▶ object deleted ─▶ over

A removal's mark takes the lock alone, commits hold it together, so a commit comes wholly before the mark, and then the
media is led to and is not marked, or wholly after, and then it sees the number and puts the bytes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger import to_json
from app.persistence.statements import ask, column, value

REMOVALS_LOCK = 0x6D656469
"""Names the advisory lock, held to the end of a transaction and no longer; the letters `medi`."""
REMOVAL_LEASE_S = 60
"""How long a removal that was marked may still delete the object; one that died blocks the bytes no longer."""


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
    removals: int = 0
    """How often these bytes had been removed when they were put or seen."""


class KnownMedia(msgspec.Struct, frozen=True):
    """What is known of some bytes."""

    key: str | None
    """Where they are stored, when they are recorded."""
    removals: int
    being_removed: bool


class Recorded(msgspec.Struct, frozen=True):
    """What recording pictures came to."""

    fresh: set[bytes]
    """The sha256 of bytes that were new to us."""
    led_to: dict[int, int]
    """Which media each address leads to now."""


class MediaRow(msgspec.Struct, frozen=True):
    """A recorded object."""

    id: int
    key: str
    size_bytes: int


async def known_media(db: AsyncConnection, hashes: Sequence[bytes]) -> list[KnownMedia]:
    """What is known of each of these bytes, in their order."""
    rows = await ask(
        db,
        """
        SELECT h.sha256, m.key, COALESCE(r.removals, 0) AS removals,
            COALESCE(r.until > clock_timestamp(), false) AS being_removed
        FROM unnest(CAST(:hashes AS bytea[])) AS h(sha256)
        LEFT JOIN LATERAL (SELECT key FROM media WHERE sha256 = h.sha256 OFFSET 0) m ON true
        LEFT JOIN LATERAL (SELECT removals, until FROM media_removals WHERE sha256 = h.sha256 OFFSET 0) r ON true""",
        {"hashes": list(dict.fromkeys(hashes))},
    )
    found = {row.sha256: KnownMedia(row.key, row.removals, row.being_removed) for row in rows}
    return [found[sha256] for sha256 in hashes]


async def hold_removals(db: AsyncConnection) -> None:
    """Keep removals from being marked until the end of the transaction; the first statement of whoever records media.

    Before any row is locked: whoever waits here behind a removal holds nothing that another commit waits for.
    """
    await ask(db, "SELECT pg_advisory_xact_lock_shared(:lock)", {"lock": REMOVALS_LOCK})


async def record_stored(db: AsyncConnection, pictures: Sequence[StoredPicture]) -> Recorded:
    """Record stored pictures and link their addresses."""
    rows = to_json([{**msgspec.to_builtins(picture), "sha256": picture.sha256.hex()} for picture in pictures])
    record = """jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(address_id bigint, sha256 text, key text,
        content_type text, width int, height int, size_bytes bigint, etag text, last_modified text)"""
    new = await column(
        db,
        f"""
        INSERT INTO media (sha256, key, content_type, width, height, size_bytes)
        SELECT DISTINCT ON (r.sha256) decode(r.sha256, 'hex'), r.key, r.content_type, r.width, r.height, r.size_bytes
        FROM {record} ORDER BY r.sha256 ON CONFLICT (sha256) DO NOTHING RETURNING sha256""",
        {"rows": rows},
    )
    fresh = set(new)
    linked = await ask(
        db,
        f"""
        WITH mine AS (
            SELECT DISTINCT ON (r.address_id) r.address_id AS id, m.id AS media_id, r.etag, r.last_modified
            FROM {record} CROSS JOIN LATERAL (
                SELECT id FROM media WHERE sha256 = decode(r.sha256, 'hex') OFFSET 0) m ORDER BY r.address_id)
        UPDATE addresses a SET state = 'stored', media_id = mine.media_id, etag = mine.etag,
            last_modified = mine.last_modified, checked_at = clock_timestamp(), failures = 0, next_try_at = NULL,
            error = NULL
        FROM mine WHERE a.id = mine.id AND a.id = ANY(ARRAY(SELECT id FROM mine)) RETURNING a.id, a.media_id""",
        {"rows": rows},
    )
    return Recorded(fresh, {row.id: row.media_id for row in linked})


async def media_page(db: AsyncConnection, after_id: int, limit: int) -> list[MediaRow]:
    """A page of recorded objects, by id."""
    rows = await ask(
        db,
        "SELECT id, key, size_bytes FROM media WHERE id > :after_id ORDER BY id LIMIT :limit",
        {"after_id": after_id, "limit": limit},
    )
    return [MediaRow(**row) for row in rows]


async def named_addresses(db: AsyncConnection, media_id: int) -> list[int]:
    """Addresses that lead to some media, those that variants show first."""
    return await column(
        db,
        """
        SELECT a.id FROM addresses a WHERE a.media_id = :media_id
        ORDER BY EXISTS (SELECT FROM shown_pictures s WHERE s.address_id = a.id) DESC, a.id""",
        {"media_id": media_id},
    )


async def addresses_of(db: AsyncConnection, key: str) -> list[int]:
    """Addresses that lead to the object with this key, by id."""
    return await column(
        db,
        "SELECT a.id FROM media m JOIN addresses a ON a.media_id = m.id WHERE m.key = :key ORDER BY a.id",
        {"key": key},
    )


async def lead_nowhere(db: AsyncConnection, address_ids: Sequence[int], key: str) -> None:
    """Note that the object with this key is gone: those of these addresses, which are held, that led there failed."""
    await ask(
        db,
        """
        UPDATE addresses a SET state = 'failed', media_id = NULL, etag = NULL, last_modified = NULL, next_try_at = NULL,
            error = 'its picture is gone from the store'
        FROM media m WHERE m.key = :key AND a.media_id = m.id AND a.id = ANY(CAST(:ids AS bigint[]))""",
        {"key": key, "ids": list(address_ids)},
    )


UNNAMED = """NOT EXISTS (SELECT FROM addresses a JOIN shown_pictures s ON s.address_id = a.id
    WHERE a.media_id = m.id)"""


async def unnamed_media(db: AsyncConnection, *, older_than_s: float) -> list[str]:
    """Keys of media stored longer ago that nothing in the catalogue shows, by key."""
    return await column(
        db,
        f"""
        SELECT m.key FROM media m WHERE {UNNAMED}
          AND m.stored_at <= clock_timestamp() - make_interval(secs => :older_than_s) ORDER BY m.key""",
        {"older_than_s": older_than_s},
    )


async def without_media(db: AsyncConnection, keys: Sequence[str]) -> list[str]:
    """Those of these keys that no media row has, in their order."""
    rows = await column(db, "SELECT key FROM media WHERE key = ANY(CAST(:keys AS text[]))", {"keys": list(keys)})
    recorded = set(rows)
    return [key for key in keys if key not in recorded]


async def now_s(db: AsyncConnection) -> float:
    """PostgreSQL's clock, in seconds since the epoch."""
    return float(await value(db, "SELECT EXTRACT(epoch FROM clock_timestamp())") or 0)


async def mark_removals(db: AsyncConnection, keys: Mapping[str, bytes], *, older_than_s: float) -> list[str]:
    """Mark objects, key to sha256, as being removed, and forget their media; returns the keys that may be deleted.

    What an address leads to by now stays, and what was stored again less than `older_than_s` seconds ago. Whoever
    calls commits, then deletes the objects within REMOVAL_LEASE_S.
    """
    await ask(db, "SELECT pg_advisory_xact_lock(:lock)", {"lock": REMOVALS_LOCK})
    await ask(
        db,
        """
        DELETE FROM media m WHERE m.key = ANY(CAST(:keys AS text[]))
          AND m.stored_at <= clock_timestamp() - make_interval(secs => :older_than_s)
          AND NOT EXISTS (SELECT FROM addresses a WHERE a.media_id = m.id)""",
        {"keys": list(keys), "older_than_s": older_than_s},
    )
    free = await without_media(db, sorted(keys))
    await ask(
        db,
        """
        INSERT INTO media_removals AS r (sha256, removals, until)
        SELECT h, 1, clock_timestamp() + make_interval(secs => :lease_s) FROM unnest(CAST(:hashes AS bytea[])) AS h
        ON CONFLICT (sha256) DO UPDATE SET removals = r.removals + 1, until = EXCLUDED.until""",
        {"hashes": sorted({keys[key] for key in free}), "lease_s": REMOVAL_LEASE_S},
    )
    return free


async def end_removals(db: AsyncConnection, hashes: Sequence[bytes]) -> None:
    """Note that the objects are gone: their bytes may be stored again."""
    await ask(
        db,
        "UPDATE media_removals SET until = clock_timestamp() WHERE sha256 = ANY(CAST(:hashes AS bytea[]))",
        {"hashes": list(hashes)},
    )


async def count_unnamed_addresses(db: AsyncConnection, *, older_than_s: float) -> int:
    """How many addresses nothing shows that were last asked longer ago."""
    return int(await value(db, f"SELECT count(*) FROM addresses a WHERE {_FORGOTTEN}", _age(older_than_s)) or 0)


async def forget_addresses(db: AsyncConnection, *, older_than_s: float, limit: int) -> int:
    """Delete some addresses that nothing shows; 0 when there are none left.

    First held, then looked at again: a family that names one at this moment holds it (KEY SHARE), and is skipped, or
    waits and makes it anew.
    """
    held = await column(
        db,
        f"SELECT a.id FROM addresses a WHERE {_FORGOTTEN} ORDER BY a.id LIMIT :limit FOR UPDATE SKIP LOCKED",
        {**_age(older_than_s), "limit": limit},
    )
    gone = await column(
        db,
        f"DELETE FROM addresses a WHERE a.id = ANY(CAST(:ids AS bigint[])) AND {_FORGOTTEN} RETURNING a.id",
        {**_age(older_than_s), "ids": held},
    )
    return len(gone)


_FORGOTTEN = """NOT EXISTS (SELECT FROM shown_pictures s WHERE s.address_id = a.id)
    AND COALESCE(a.checked_at, '-infinity') <= clock_timestamp() - make_interval(secs => :older_than_s)"""


def _age(older_than_s: float) -> dict[str, float]:
    return {"older_than_s": older_than_s}
