"""What a manifest means for one supplier: in one set operation, written or only looked at."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.documents.families import HEARD, SPEAKS
from app.persistence.documents.rows import ManifestDiff, SaidEntry, WantedDocument
from app.persistence.statements import text

ANEW = "d.seen_hash IS DISTINCT FROM EXCLUDED.seen_hash OR d.url <> EXCLUDED.url OR NOT d.present"
STANDS = f"(d.present AND {HEARD})"
"""What was applied of it is what its family shows: while the manifest lacked it, no other took its place."""
DIFF = f"""
WITH said AS (
    SELECT u.file_name, u.url, NULLIF(u.hash, '') AS hash FROM unnest(
        string_to_array(:names, chr(10)), string_to_array(:urls, chr(10)), string_to_array(:hashes, chr(10)))
        AS u(file_name, url, hash)),
kept AS (
    INSERT INTO documents AS d (supplier_id, file_name, url, seen_hash)
    SELECT :supplier_id, said.file_name, said.url, said.hash
    FROM said LEFT JOIN documents o ON o.supplier_id = :supplier_id AND o.file_name = said.file_name COLLATE "C"
    WHERE o.id IS NULL OR o.seen_hash IS DISTINCT FROM said.hash OR o.url <> said.url OR NOT o.present
        OR o.missing_runs > 0 OR o.missing_since IS NOT NULL
    ORDER BY said.file_name COLLATE "C"
    ON CONFLICT (supplier_id, file_name) DO UPDATE SET url = EXCLUDED.url, seen_hash = EXCLUDED.seen_hash,
        present = true, missing_runs = 0, missing_since = NULL,
        -- what is new about an entry ends the pauses of what was dead before
        failures = CASE WHEN {ANEW} THEN 0 ELSE d.failures END,
        next_try_at = CASE WHEN {ANEW} THEN NULL ELSE d.next_try_at END,
        failed_run_id = CASE WHEN d.seen_hash IS DISTINCT FROM EXCLUDED.seen_hash THEN NULL ELSE d.failed_run_id END,
        -- what comes back is applied again, from the stored body where it fits
        applied_hash = CASE WHEN {STANDS} THEN d.applied_hash END,
        applied_version = CASE WHEN {STANDS} THEN d.applied_version END,
        -- what was in doubt when it left is read anew, and that reading confirms nothing: others came in between
        refetch = d.refetch OR NOT d.present AND d.suspect_hash IS NOT NULL, reread = d.present AND d.reread,
        suspect_hash = CASE WHEN d.present THEN d.suspect_hash END)
SELECT 1
"""


UNFINISHED = """(d.seen_hash IS NULL OR d.applied_hash IS DISTINCT FROM d.seen_hash OR d.applied_version IS NULL
    OR d.applied_version IS DISTINCT FROM d.version OR d.suspect_hash IS NOT NULL)"""
"""What an ordinary sync takes up. The version tells a body that came under the hash that was applied, by `force`, and
whose family was never written."""
WANTED = f"""
WITH said AS (SELECT file_name FROM unnest(string_to_array(:names, chr(10))) AS u(file_name))
SELECT d.id, d.file_name, d.url, d.seen_hash AS hash, d.sku, d.family_sku,
    d.applied_version IS NULL AS is_new,
    {UNFINISHED} AS differs,
    d.version IS NOT NULL AND NOT d.refetch AND d.fetched_hash IS NOT DISTINCT FROM d.seen_hash
        AND (d.fetched_run_id = CAST(:run_id AS uuid)
             OR d.seen_hash IS NOT NULL AND NOT :force AND d.suspect_hash IS DISTINCT FROM d.seen_hash) AS stored,
    COALESCE(d.next_try_at > clock_timestamp(), false) AND NOT :force AS paused,
    d.suspect_hash IS NOT NULL AS suspect,
    COALESCE(d.failed_run_id = CAST(:run_id AS uuid), false) AS failed_here
FROM documents d JOIN said ON said.file_name = d.file_name COLLATE "C"
WHERE d.supplier_id = :supplier_id AND ({UNFINISHED} OR :force)
ORDER BY d.file_name
"""


BEHIND = f"""
SELECT d.id FROM (SELECT * FROM lacking d WHERE {SPEAKS}) l
JOIN documents d ON d.supplier_id = l.supplier_id AND d.family_sku = l.family_sku
    AND d.present AND d.version IS NOT NULL
    AND (l.has_children OR d.sku = l.sku AND (document_stem(l.file_name) = l.sku, d.file_name)
                                           > (document_stem(d.file_name) = d.sku, l.file_name))
JOIN said ON said.file_name = d.file_name COLLATE "C"
"""
"""The documents that did not count beside one that spoke until this manifest, which lacks it and names them."""
LEAVE_OUT = f"""
WITH said AS MATERIALIZED (SELECT file_name FROM unnest(string_to_array(:names, chr(10))) AS u(file_name)),
missing AS MATERIALIZED (
    SELECT d.id, d.missing_since IS NULL AS is_new FROM documents d
    LEFT JOIN said ON said.file_name = d.file_name COLLATE "C"
    WHERE d.supplier_id = :supplier_id AND d.present AND said.file_name IS NULL),
lacking AS (
    UPDATE documents SET missing_since = now() WHERE id IN (
        SELECT d.id FROM missing JOIN documents d USING (id) WHERE missing.is_new ORDER BY d.id
        FOR NO KEY UPDATE OF d)
    RETURNING *),
taken_up AS (
    UPDATE documents SET applied_hash = NULL, applied_version = NULL
    WHERE id IN ({BEHIND} ORDER BY d.id FOR NO KEY UPDATE OF d))
SELECT count(*) FROM missing
"""
"""What the manifest lacks is noted as that at once, whenever it will be removed, if it is: what stood behind it counts
from now on. It was passed over as if it were applied."""


async def take_manifest(
    db: AsyncConnection,
    supplier_id: int,
    entries: Sequence[SaidEntry],
    *,
    run_id: str,
    force: bool,
) -> ManifestDiff:
    """Write what the manifest says of a supplier and return what is wanted; few set operations, whatever the size."""
    names = as_lines([entry.file_name for entry in entries])
    missing = await db.scalar(text(LEAVE_OUT), {"supplier_id": supplier_id, "names": names})
    await db.execute(
        text(DIFF),
        {
            "supplier_id": supplier_id,
            "names": names,
            "urls": as_lines([entry.url for entry in entries]),
            "hashes": as_lines([entry.hash or "" for entry in entries]),
        },
    )
    rows = await db.execute(
        text(WANTED),
        {
            "supplier_id": supplier_id,
            "names": names,
            "run_id": run_id,
            "force": force,
        },
    )
    wanted = [WantedDocument(**row) for row in rows.mappings()]
    return ManifestDiff(len(entries), wanted, int(missing or 0))


async def any_unfinished(db: AsyncConnection, supplier_id: int) -> bool:
    """Whether an ordinary sync would find something to take up by now, as after a reset."""
    return bool(
        await db.scalar(
            text(f"""
            SELECT EXISTS (SELECT FROM documents d
                           WHERE d.supplier_id = :supplier_id AND d.present AND {UNFINISHED})"""),
            {"supplier_id": supplier_id},
        )
    )


def as_lines(values: Sequence[str]) -> str:
    """Many texts as one parameter, for `string_to_array(…, chr(10))`; none of a manifest's texts holds a line break.

    An array parameter is encoded element by element in Python: 0.3 s more for 100,000 entries.
    """
    return "\n".join(values)


PREVIEW = f"""
WITH said AS MATERIALIZED (
    SELECT u.file_name, NULLIF(u.hash, '') AS hash
    FROM unnest(string_to_array(:names, chr(10)), string_to_array(:hashes, chr(10))) AS u(file_name, hash)),
lacking AS MATERIALIZED (
    SELECT d.* FROM documents d LEFT JOIN said ON said.file_name = d.file_name COLLATE "C"
    WHERE d.supplier_id = :supplier_id AND d.present AND d.missing_since IS NULL AND said.file_name IS NULL),
compared AS (
    SELECT d.family_sku, said.file_name, d.applied_version IS NULL OR NOT {STANDS} OR d.id IN ({BEHIND}) AS is_new,
        said.hash IS NULL OR d.applied_hash IS DISTINCT FROM said.hash
            OR d.applied_version IS DISTINCT FROM d.version OR d.suspect_hash IS NOT NULL AS differs
    FROM said LEFT JOIN documents d ON d.supplier_id = :supplier_id AND d.file_name = said.file_name COLLATE "C")
SELECT COALESCE(family_sku, document_stem(file_name)) AS sku, is_new FROM compared WHERE is_new OR differs
"""


class Previewed(msgspec.Struct, frozen=True):
    """What a manifest would mean for one supplier, without writing anything."""

    new: list[str]
    changed: list[str]
    removed: list[str]
    """SKUs of families, or the names of documents that were never read, sorted."""


async def preview_manifest(db: AsyncConnection, supplier_id: int, entries: Sequence[SaidEntry]) -> Previewed:
    """Decide what `take_manifest` would, from what is stored, without writing."""
    names = as_lines([entry.file_name for entry in entries])
    differing = await db.execute(
        text(PREVIEW),
        {"supplier_id": supplier_id, "names": names, "hashes": as_lines([entry.hash or "" for entry in entries])},
    )
    rows = differing.all()
    removed = await db.scalars(
        text("""
        SELECT COALESCE(d.family_sku, d.file_name) FROM documents d
        LEFT JOIN unnest(string_to_array(:names, chr(10))) AS u(file_name) ON u.file_name = d.file_name COLLATE "C"
        WHERE d.supplier_id = :supplier_id AND d.present AND u.file_name IS NULL"""),
        {"supplier_id": supplier_id, "names": names},
    )
    return Previewed(
        new=sorted(row.sku for row in rows if row.is_new),
        changed=sorted(row.sku for row in rows if not row.is_new),
        removed=sorted(removed),
    )


async def due_for_rereading(db: AsyncConnection, supplier_id: int, share_a_day: float) -> list[WantedDocument]:
    """The documents whose turn it is to be read again although their hash is unchanged, oldest first.

    Content is known to change under an old hash; `share_a_day` of a supplier's documents are read again each day.
    """
    rows = await db.execute(
        text(f"""
        WITH budget AS (
            SELECT CEIL(count(*) * :share) - count(*) FILTER (WHERE fetched_at > clock_timestamp() - interval '1 day')
                AS number FROM documents WHERE supplier_id = :supplier_id AND present)
        SELECT d.id, d.file_name, d.url, d.seen_hash AS hash, d.sku, d.family_sku,
            false AS is_new, false AS differs,
            false AS stored, false AS paused, true AS suspect, false AS failed_here
        FROM documents d WHERE d.supplier_id = :supplier_id AND d.present AND NOT {UNFINISHED}
          AND d.fetched_at <= clock_timestamp() - interval '1 day'
        ORDER BY d.fetched_at LIMIT GREATEST(0, (SELECT number FROM budget))"""),
        {"supplier_id": supplier_id, "share": share_a_day},
    )
    return [WantedDocument(**row) for row in rows.mappings()]
