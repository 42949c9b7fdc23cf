"""The feed's entries and their documents: what the manifest said, what was fetched, what was applied.

`seen_hash` is what the manifest said, `fetched_hash` what the stored body was fetched under, `applied_hash` what the
family stage wrote with the family's rows. The diff is against `applied_hash`, so whatever failed, was cancelled or was
never finished is taken up by the next ordinary sync (ENGINE.md 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.ledger import to_json
from app.persistence.suppliers import note_clean


class SaidEntry(msgspec.Struct, frozen=True):
    """One line of the manifest, as far as the diff needs it."""

    file_name: str
    url: str
    hash: str | None


class WantedDocument(msgspec.Struct, frozen=True):
    """A document that is new, changed or was never finished."""

    id: int
    file_name: str
    url: str
    hash: str | None
    sku: str | None
    family_sku: str | None
    """As last fetched; None for a document that never was."""
    had_children: bool
    is_new: bool
    differs: bool
    """It is new, changed or unfinished; False for one that is only here by `force`."""
    stored: bool
    """Its body is here already, fetched under this very hash: no request is needed."""
    paused: bool
    """It failed repeatedly and its pause is not over."""
    suspect: bool
    """Read under this hash before and not believed: ask past caches, then believe."""
    failed_here: bool
    """It failed in this very run already, which has reported it."""


class ManifestDiff(msgspec.Struct, frozen=True):
    """What a manifest means for one supplier."""

    entries: int
    wanted: list[WantedDocument]
    removed: int

    @property
    def nothing_to_do(self) -> bool:
        """Whether everything that the manifest names is applied, and nothing else is there."""
        return not self.wanted and not self.removed

    @property
    def new(self) -> int:
        """How many entries were never applied."""
        return sum(document.is_new for document in self.wanted)

    @property
    def changed(self) -> int:
        """How many entries were applied, under another hash or none."""
        return sum(document.differs and not document.is_new for document in self.wanted)

    @property
    def unchanged(self) -> int:
        """How many entries are as they were applied."""
        return self.entries - self.new - self.changed

    def meant(self, skus: Sequence[str] | None) -> list[WantedDocument]:
        """What is to be worked on: everything wanted, or only the documents of these families."""
        if skus is None:
            return self.wanted
        named = set(skus)
        return [
            item for item in self.wanted if item.family_sku in named or item.file_name.removesuffix(".json") in named
        ]


class FetchedDocument(msgspec.Struct, frozen=True):
    """A document that arrived whole and can be read."""

    id: int
    file_name: str
    hash: str | None
    sku: str
    family_sku: str
    has_children: bool
    child_skus: tuple[str, ...]
    sha256: bytes
    size_bytes: int
    body: bytes
    """zstd."""


class FailedDocument(msgspec.Struct, frozen=True):
    """A document that could not be fetched or read."""

    id: int
    url: str
    kind: str
    reason: str
    dead: bool
    """Gone or forbidden rather than passing: asked for with growing pauses."""


class StoredDocument(msgspec.Struct, frozen=True):
    """A document's body as stored, to be read by the family stage."""

    id: int
    file_name: str
    url: str
    sku: str
    has_children: bool
    version: int
    applied_version: int | None
    reread: bool
    """It was not believed before and has been read once more since."""
    stale: bool
    """Its bytes are the old ones, though its hash is new; it will be read once more."""
    body: bytes
    """zstd."""


DIFF = """
WITH said AS (
    SELECT u.file_name, u.url, NULLIF(u.hash, '') AS hash FROM unnest(
        string_to_array(:names, chr(10)), string_to_array(:urls, chr(10)), string_to_array(:hashes, chr(10)))
        AS u(file_name, url, hash)),
kept AS (
    INSERT INTO documents AS d (supplier_id, file_name, url, seen_hash)
    SELECT :supplier_id, said.file_name, said.url, said.hash
    FROM said LEFT JOIN documents o ON o.supplier_id = :supplier_id AND o.file_name = said.file_name COLLATE "C"
    WHERE o.id IS NULL OR o.seen_hash IS DISTINCT FROM said.hash OR o.url <> said.url OR NOT o.present
        OR o.missing_runs > 0
    ORDER BY said.file_name COLLATE "C"
    ON CONFLICT (supplier_id, file_name) DO UPDATE SET url = EXCLUDED.url, seen_hash = EXCLUDED.seen_hash,
        present = true, missing_runs = 0,
        -- what is new about an entry ends the pauses of what was dead before
        failures = CASE WHEN d.seen_hash IS DISTINCT FROM EXCLUDED.seen_hash OR NOT d.present THEN 0
                        ELSE d.failures END,
        next_try_at = CASE WHEN d.seen_hash IS DISTINCT FROM EXCLUDED.seen_hash OR NOT d.present THEN NULL
                           ELSE d.next_try_at END,
        failed_run_id = CASE WHEN d.seen_hash IS DISTINCT FROM EXCLUDED.seen_hash THEN NULL ELSE d.failed_run_id END,
        -- what comes back is applied again, from the stored body where it fits
        applied_hash = CASE WHEN d.present THEN d.applied_hash END,
        applied_version = CASE WHEN d.present THEN d.applied_version END)
SELECT 1
"""

WANTED = """
WITH said AS (SELECT file_name FROM unnest(string_to_array(:names, chr(10))) AS u(file_name))
SELECT d.id, d.file_name, d.url, d.seen_hash AS hash, d.sku, d.family_sku,
    COALESCE(d.has_children, false) AS had_children, d.applied_version IS NULL AS is_new,
    d.seen_hash IS NULL OR d.applied_hash IS DISTINCT FROM d.seen_hash OR d.applied_version IS NULL
        OR d.suspect_hash IS NOT NULL AS differs,
    d.version IS NOT NULL AND NOT d.refetch AND d.fetched_hash IS NOT DISTINCT FROM d.seen_hash
        AND (d.fetched_run_id = CAST(:run_id AS uuid)
             OR d.seen_hash IS NOT NULL AND NOT :force AND d.suspect_hash IS DISTINCT FROM d.seen_hash) AS stored,
    COALESCE(d.next_try_at > clock_timestamp(), false) AND NOT :force AS paused,
    COALESCE(d.suspect_hash = COALESCE(d.seen_hash, ''), false) AS suspect,
    COALESCE(d.failed_run_id = CAST(:run_id AS uuid), false) AS failed_here
FROM documents d JOIN said ON said.file_name = d.file_name COLLATE "C"
WHERE d.supplier_id = :supplier_id
  AND (d.seen_hash IS NULL OR d.applied_hash IS DISTINCT FROM d.seen_hash OR d.applied_version IS NULL
       OR d.suspect_hash IS NOT NULL OR :force)
ORDER BY d.file_name
"""


async def take_manifest(
    db: AsyncConnection,
    supplier_id: int,
    entries: Sequence[SaidEntry],
    *,
    run_id: str,
    force: bool,
) -> ManifestDiff:
    """Write what the manifest says of a supplier and return what is wanted; two set operations, whatever the size."""
    names = as_lines([entry.file_name for entry in entries])
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
    return ManifestDiff(len(entries), wanted, await _count_removed(db, supplier_id, names))


def as_lines(values: Sequence[str]) -> str:
    """Many texts as one parameter, for `string_to_array(…, chr(10))`; none of a manifest's texts holds a line break.

    An array parameter is encoded element by element in Python: 0.3 s more for 100,000 entries.
    """
    return "\n".join(values)


async def _count_removed(db: AsyncConnection, supplier_id: int, names: str) -> int:
    return int(
        await db.scalar(
            text("""
            SELECT count(*) FROM documents d
            LEFT JOIN unnest(string_to_array(:names, chr(10))) AS u(file_name)
                ON u.file_name = d.file_name COLLATE "C"
            WHERE d.supplier_id = :supplier_id AND d.present AND u.file_name IS NULL"""),
            {"supplier_id": supplier_id, "names": names},
        )
        or 0
    )


async def store_fetched(db: AsyncConnection, run_id: str, documents: Sequence[FetchedDocument]) -> dict[int, int]:
    """Store bodies, outlines and listings of documents that arrived; returns document id to its new version."""
    if not documents:
        return {}
    rows = await db.execute(
        text("""
        UPDATE documents d SET version = nextval('document_versions'), fetched_hash = r.hash, body_sha256 = r.sha256,
            fetched_run_id = CAST(:run_id AS uuid), fetched_at = clock_timestamp(), sku = r.sku,
            family_sku = r.family_sku, has_children = r.has_children, failures = 0, next_try_at = NULL, error = NULL,
            reread = COALESCE(d.suspect_hash = COALESCE(r.hash, ''), false), refetch = false, failed_run_id = NULL,
            doubted = false,
            former_family = CASE WHEN d.family_sku IS DISTINCT FROM r.family_sku
                                 THEN COALESCE(d.former_family, d.family_sku) ELSE d.former_family END,
            suspect_hash = CASE WHEN d.applied_version IS NOT NULL AND d.body_sha256 = r.sha256
                                 AND d.fetched_hash <> r.hash AND d.suspect_hash IS DISTINCT FROM r.hash THEN r.hash END
        FROM unnest(CAST(:ids AS bigint[]), CAST(:hashes AS text[]), CAST(:sha256s AS bytea[]), CAST(:skus AS text[]),
                    CAST(:families AS text[]), CAST(:parents AS boolean[]))
             AS r(id, hash, sha256, sku, family_sku, has_children)
        WHERE d.id = r.id RETURNING d.id, d.version"""),
        {
            "run_id": run_id,
            "ids": [document.id for document in documents],
            "hashes": [document.hash for document in documents],
            "sha256s": [document.sha256 for document in documents],
            "skus": [document.sku for document in documents],
            "families": [document.family_sku for document in documents],
            "parents": [document.has_children for document in documents],
        },
    )
    versions = {row.id: row.version for row in rows}
    await _store_bodies(db, documents, versions)
    await _store_listings(db, documents)
    return versions


async def _store_bodies(db: AsyncConnection, documents: Sequence[FetchedDocument], versions: dict[int, int]) -> None:
    await db.execute(
        text("""
        INSERT INTO document_bodies (document_id, version, size_bytes, body)
        SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:versions AS bigint[]), CAST(:sizes AS int[]),
                             CAST(:bodies AS bytea[]))
        ON CONFLICT (document_id) DO UPDATE SET version = EXCLUDED.version, size_bytes = EXCLUDED.size_bytes,
            body = EXCLUDED.body"""),
        {
            "ids": [document.id for document in documents],
            "versions": [versions[document.id] for document in documents],
            "sizes": [document.size_bytes for document in documents],
            "bodies": [document.body for document in documents],
        },
    )


async def _store_listings(db: AsyncConnection, documents: Sequence[FetchedDocument]) -> None:
    pairs = sorted((sku, document.id) for document in documents for sku in document.child_skus)
    params = {
        "ids": [document.id for document in documents],
        "skus": [sku for sku, _ in pairs],
        "listers": [document_id for _, document_id in pairs],
    }
    await db.execute(
        text("""
        DELETE FROM listings l WHERE l.document_id = ANY(CAST(:ids AS bigint[])) AND NOT EXISTS (
            SELECT FROM unnest(CAST(:skus AS text[]), CAST(:listers AS bigint[])) AS r(sku, id)
            WHERE r.id = l.document_id AND r.sku = l.variant_sku COLLATE "C")"""),
        params,
    )
    await db.execute(
        text("""
        INSERT INTO listings (supplier_id, variant_sku, document_id)
        SELECT d.supplier_id, r.sku, r.id
        FROM unnest(CAST(:skus AS text[]), CAST(:listers AS bigint[])) AS r(sku, id) JOIN documents d ON d.id = r.id
        ON CONFLICT DO NOTHING"""),
        {"skus": params["skus"], "listers": params["listers"]},
    )


async def note_failed(db: AsyncConnection, run_id: str, documents: Sequence[FailedDocument]) -> None:
    """Note failures; what is dead is asked for again after growing pauses, beginning with the third in a row."""
    if not documents:
        return
    await db.execute(
        text("""
        UPDATE documents d SET failures = d.failures + 1, error = r.reason, failed_run_id = CAST(:run_id AS uuid),
            next_try_at = CASE WHEN r.dead AND d.failures >= 2 THEN clock_timestamp()
                + LEAST(interval '1 day', interval '10 min' * power(2, LEAST(d.failures - 2, 10))) END
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id bigint, reason text, dead boolean) WHERE d.id = r.id"""),
        {
            "run_id": run_id,
            "rows": to_json([{"id": item.id, "reason": item.reason[:500], "dead": item.dead} for item in documents]),
        },
    )


async def documents_of_family(db: AsyncConnection, supplier_id: int, family_sku: str) -> list[StoredDocument]:
    """The stored documents of one family that the manifest still names, by file name."""
    rows = await db.execute(
        text("""
        SELECT d.id, d.file_name, d.url, d.sku, d.has_children, b.version, d.applied_version, d.reread,
            d.suspect_hash IS NOT NULL AS stale, b.body
        FROM documents d JOIN document_bodies b ON b.document_id = d.id
        WHERE d.supplier_id = :supplier_id AND d.family_sku = :family_sku AND d.present ORDER BY d.file_name"""),
        {"supplier_id": supplier_id, "family_sku": family_sku},
    )
    return [StoredDocument(**row) for row in rows.mappings()]


async def lock_versions(db: AsyncConnection, ids: Sequence[int]) -> dict[int, tuple[int, bool]]:
    """Lock documents, by id; returns each one's version and whether the manifest still names it."""
    rows = await db.execute(
        text("""
        SELECT id, version, present FROM documents WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id
        FOR NO KEY UPDATE"""),
        {"ids": list(ids)},
    )
    return {row.id: (row.version, row.present) for row in rows}


async def mark_applied(db: AsyncConnection, versions: dict[int, int]) -> None:
    """Note, with the family's rows, which versions of its documents they came from."""
    await db.execute(
        text("""
        UPDATE documents d SET applied_hash = d.fetched_hash, applied_version = d.version, refetch = false
        FROM unnest(CAST(:ids AS bigint[]), CAST(:versions AS bigint[])) AS r(id, version)
        WHERE d.id = r.id AND d.version = r.version"""),
        {"ids": list(versions), "versions": list(versions.values())},
    )


class OpenFamily(msgspec.Struct, frozen=True):
    """A family whose stored documents are newer than what was applied."""

    sku: str
    version: int


async def unapplied_families(
    db: AsyncConnection, supplier_id: int, *, after: str, limit: int, run_id: str
) -> list[OpenFamily]:
    """A page, by SKU, of the families with a document that is not applied yet and has no job in the run yet."""
    rows = await db.execute(
        text("""
        SELECT family_sku AS sku, max(version) AS version FROM documents
        WHERE supplier_id = :supplier_id AND present AND version IS NOT NULL AND family_sku > :after
        GROUP BY family_sku
        HAVING bool_or(applied_version IS DISTINCT FROM version)
           AND NOT EXISTS (SELECT FROM jobs j WHERE j.run_id = CAST(:run_id AS uuid) AND j.queue = 'product-family'
                           AND j.key = documents.family_sku || '@' || max(documents.version))
        ORDER BY family_sku LIMIT :limit"""),
        {"supplier_id": supplier_id, "after": after, "limit": limit, "run_id": run_id},
    )
    return [OpenFamily(row.sku, row.version) for row in rows]


class SilentDocument(msgspec.Struct, frozen=True):
    """A document whose family SKU another one has too, which speaks for the family."""

    sku: str
    url: str
    speaker: str
    """The file name of the one that counts."""


async def silent_documents(db: AsyncConnection, supplier_id: int) -> list[SilentDocument]:
    """The documents that do not count, by SKU and file name."""
    rows = await db.execute(
        text(f"""
        SELECT d.family_sku AS sku, d.url, s.file_name AS speaker FROM documents d
        JOIN speaking_documents s ON s.supplier_id = d.supplier_id AND s.family_sku = d.family_sku
        WHERE d.supplier_id = :supplier_id AND {SILENT} ORDER BY d.family_sku, d.file_name"""),
        {"supplier_id": supplier_id},
    )
    return [SilentDocument(**row) for row in rows.mappings()]


async def settle_silent(db: AsyncConnection, supplier_id: int) -> None:
    """Note that there is nothing to apply of the documents that do not count."""
    await db.execute(
        text(f"""
        UPDATE documents d SET applied_hash = d.fetched_hash, applied_version = d.version
        WHERE d.supplier_id = :supplier_id AND d.applied_version IS DISTINCT FROM d.version AND {SILENT}"""),
        {"supplier_id": supplier_id},
    )


SILENT = """d.present AND d.version IS NOT NULL AND d.family_sku IN (
    SELECT family_sku FROM documents WHERE supplier_id = :supplier_id AND present AND version IS NOT NULL
    GROUP BY family_sku HAVING count(*) > 1 AND bool_or(has_children))
  AND NOT EXISTS (SELECT FROM speaking_documents s WHERE s.id = d.id)"""


async def other_listers(
    db: AsyncConnection, supplier_id: int, skus: Sequence[str], family_sku: str
) -> dict[str, list[str]]:
    """For each of these variant SKUs that documents of other families list too: those families' SKUs, sorted."""
    rows = await db.execute(
        text("""
        SELECT l.variant_sku, array_agg(DISTINCT d.family_sku) AS families
        FROM listings l JOIN speaking_documents d ON d.id = l.document_id
        WHERE l.supplier_id = :supplier_id AND l.variant_sku = ANY(CAST(:skus AS text[]))
          AND d.family_sku <> :family_sku GROUP BY l.variant_sku"""),
        {"supplier_id": supplier_id, "skus": list(skus), "family_sku": family_sku},
    )
    return {row.variant_sku: sorted(row.families) for row in rows}


async def reset_supplier(db: AsyncConnection, supplier_id: int) -> None:
    """Take everything of a supplier as unknown, so that the next sync fetches it; nothing is deleted."""
    await db.execute(
        text("""
        UPDATE documents SET applied_hash = NULL, applied_version = NULL, fetched_hash = NULL, suspect_hash = NULL,
            failures = 0, next_try_at = NULL WHERE supplier_id = :supplier_id"""),
        {"supplier_id": supplier_id},
    )
    await note_clean(db, supplier_id, None, None)


async def forget_fetched(db: AsyncConnection, supplier_id: int, family_sku: str) -> None:
    """A family's documents could not be read: fetch them again next time, even under the same hash."""
    await db.execute(
        text("""
        UPDATE documents SET refetch = true
        WHERE supplier_id = :supplier_id AND family_sku = :family_sku AND applied_version IS DISTINCT FROM version"""),
        {"supplier_id": supplier_id, "family_sku": family_sku},
    )


async def note_missing(
    db: AsyncConnection, supplier_id: int, names: Sequence[str], *, remove_after_runs: int
) -> list[tuple[str, int, int]]:
    """Count a manifest in which documents are missing; after so many in a row they are present no more.

    Returns families that lost some of their documents and keep others: SKU, newest version, documents left.
    """
    rows = await db.execute(
        text("""
        WITH gone AS (
            UPDATE documents SET missing_runs = missing_runs + 1, present = missing_runs + 1 < :remove_after
            WHERE id IN (
                SELECT d.id FROM documents d LEFT JOIN unnest(string_to_array(:names, chr(10))) AS u(file_name)
                    ON u.file_name = d.file_name COLLATE "C"
                WHERE d.supplier_id = :supplier_id AND d.present AND u.file_name IS NULL ORDER BY d.id
                FOR NO KEY UPDATE OF d)
            RETURNING id, family_sku, present)
        SELECT d.family_sku, max(d.version) AS version, count(*) AS remaining FROM documents d
        WHERE d.supplier_id = :supplier_id AND d.present AND d.version IS NOT NULL
          AND d.id NOT IN (SELECT id FROM gone)
          AND d.family_sku IN (SELECT family_sku FROM gone WHERE NOT present)
        GROUP BY d.family_sku ORDER BY d.family_sku"""),
        {"supplier_id": supplier_id, "names": as_lines(names), "remove_after": remove_after_runs},
    )
    return [(row.family_sku, row.version, row.remaining) for row in rows]


async def count_families_missing(db: AsyncConnection, supplier_id: int, names: Sequence[str]) -> int:
    """How many active products would go if every document that these names lack went."""
    return int(
        await db.scalar(
            text("""
            SELECT count(*) FROM products p WHERE p.supplier_id = :supplier_id AND p.status = 'active' AND NOT EXISTS (
                SELECT FROM documents d JOIN unnest(string_to_array(:names, chr(10))) AS u(file_name)
                    ON u.file_name = d.file_name COLLATE "C"
                WHERE d.supplier_id = :supplier_id AND d.family_sku = p.sku AND d.present)"""),
            {"supplier_id": supplier_id, "names": as_lines(names)},
        )
        or 0
    )


async def count_families(db: AsyncConnection, supplier_id: int) -> int:
    """How many families the supplier's documents make."""
    return int(
        await db.scalar(
            text("""
            SELECT count(DISTINCT family_sku) FROM documents
            WHERE supplier_id = :supplier_id AND present AND version IS NOT NULL"""),
            {"supplier_id": supplier_id},
        )
        or 0
    )


def winner(file_names: Sequence[str], family_sku: str) -> str:
    """Of several documents with one family SKU: the one whose file name equals it, else the first by name."""
    exact = f"{family_sku}.json"
    return exact if exact in file_names else min(file_names)


async def suspect(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Do not believe what these documents say until they were read once more, in the next run."""
    await db.execute(
        text("UPDATE documents SET suspect_hash = COALESCE(fetched_hash, '') WHERE id = ANY(CAST(:ids AS bigint[]))"),
        {"ids": list(ids)},
    )


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
        text("""
        SELECT COALESCE(d.family_sku, regexp_replace(u.file_name, '\\.json$', '')) AS sku,
            d.applied_version IS NULL AS is_new
        FROM unnest(string_to_array(:names, chr(10)), string_to_array(:hashes, chr(10))) AS u(file_name, hash)
        LEFT JOIN documents d ON d.supplier_id = :supplier_id AND d.file_name = u.file_name COLLATE "C"
        WHERE d.applied_version IS NULL OR NULLIF(u.hash, '') IS NULL OR d.applied_hash IS DISTINCT FROM u.hash
            OR d.suspect_hash IS NOT NULL"""),
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
        text("""
        WITH budget AS (
            SELECT CEIL(count(*) * :share) - count(*) FILTER (WHERE fetched_at > clock_timestamp() - interval '1 day')
                AS number FROM documents WHERE supplier_id = :supplier_id AND present)
        SELECT d.id, d.file_name, d.url, d.seen_hash AS hash, d.sku, d.family_sku,
            COALESCE(d.has_children, false) AS had_children, false AS is_new, false AS differs,
            false AS stored, false AS paused, true AS suspect, false AS failed_here
        FROM documents d WHERE d.supplier_id = :supplier_id AND d.present AND d.applied_hash = d.seen_hash
          AND d.suspect_hash IS NULL AND d.fetched_at <= clock_timestamp() - interval '1 day'
        ORDER BY d.fetched_at LIMIT GREATEST(0, (SELECT number FROM budget))"""),
        {"supplier_id": supplier_id, "share": share_a_day},
    )
    return [WantedDocument(**row) for row in rows.mappings()]


async def stored_families(db: AsyncConnection, supplier_id: int, *, after: str, limit: int) -> list[OpenFamily]:
    """A page, by SKU, of the families whose documents are stored."""
    rows = await db.execute(
        text("""
        SELECT family_sku AS sku, max(version) AS version FROM documents
        WHERE supplier_id = :supplier_id AND present AND version IS NOT NULL AND family_sku > :after
        GROUP BY family_sku ORDER BY family_sku LIMIT :limit"""),
        {"supplier_id": supplier_id, "after": after, "limit": limit},
    )
    return [OpenFamily(row.sku, row.version) for row in rows]


async def doubt(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Leave it to the end of the run what these documents mean: what they lack may have moved to a later one."""
    await db.execute(
        text("UPDATE documents SET doubted = true WHERE id = ANY(CAST(:ids AS bigint[]))"), {"ids": list(ids)}
    )


async def take_doubted(db: AsyncConnection, supplier_id: int) -> list[tuple[str, int]]:
    """The families that were left to the end of the run: SKU and newest version, once."""
    rows = await db.execute(
        text("""
        UPDATE documents SET doubted = false WHERE supplier_id = :supplier_id AND doubted
        RETURNING family_sku, version"""),
        {"supplier_id": supplier_id},
    )
    newest: dict[str, int] = {}
    for row in rows:
        newest[row.family_sku] = max(row.version, newest.get(row.family_sku, 0))
    return sorted(newest.items())


async def former_families(db: AsyncConnection, supplier_id: int) -> list[tuple[str, int, int]]:
    """The families that documents left for others: SKU, newest version of what is left, and how many that is."""
    rows = await db.execute(
        text("""
        SELECT f.sku, COALESCE(max(d.version), 0) AS version, count(d.id) AS remaining
        FROM (SELECT DISTINCT former_family AS sku FROM documents
              WHERE supplier_id = :supplier_id AND former_family IS NOT NULL) f
        LEFT JOIN documents d ON d.supplier_id = :supplier_id AND d.family_sku = f.sku AND d.present
            AND d.version IS NOT NULL
        GROUP BY f.sku ORDER BY f.sku"""),
        {"supplier_id": supplier_id},
    )
    return [(row.sku, row.version, row.remaining) for row in rows]


async def forget_former_families(db: AsyncConnection, supplier_id: int) -> None:
    """What documents left behind is settled."""
    await db.execute(
        text("""
        UPDATE documents SET former_family = NULL WHERE supplier_id = :supplier_id AND former_family IS NOT NULL"""),
        {"supplier_id": supplier_id},
    )
