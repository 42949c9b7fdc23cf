"""Bodies as they were fetched, and which versions of them were applied."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.documents.families import OUTLIVED, SPEAKS
from app.persistence.documents.rows import FailedDocument, FetchedDocument, StoredDocument
from app.persistence.ledger import to_json
from app.persistence.statements import ask, value
from app.persistence.suppliers import note_clean

UNAPPLIED = "d.applied_version IS DISTINCT FROM d.version"
IN_DOUBT = f"(d.suspect_hash IS NOT NULL OR d.reread AND {UNAPPLIED})"
"""What it says is not believed yet, or is and could not be written."""
RUNS_IN_A_ROW = 3
"""In so many a document may fail: then what is dead is asked for with growing pauses, and nothing waits for it."""
CAME_TWICE = f"(d.suspect_hash IS NOT NULL AND d.reread AND {UNAPPLIED})"
"""A doubted body came under a second hash: under a third one its bytes are no old ones once more, else one whose hash
changes daily would never be believed."""


async def store_fetched(db: AsyncConnection, run_id: str, documents: Sequence[FetchedDocument]) -> dict[int, int]:
    """Store bodies, outlines and listings of documents that arrived; returns document id to its new version.

    What they are beside the reading before is noted: old bytes under a new hash, or a doubted one confirmed.
    """
    if not documents:
        return {}
    rows = await ask(
        db,
        f"""
        UPDATE documents d SET version = nextval('document_versions'), fetched_hash = r.hash, body_sha256 = r.sha256,
            fetched_run_id = CAST(:run_id AS uuid), fetched_at = clock_timestamp(), sku = r.sku,
            family_sku = r.family_sku, has_children = r.has_children, failures = 0, next_try_at = NULL, error = NULL,
            reread = {IN_DOUBT}, refetch = false, failed_run_id = NULL, doubted = false,
            former_family = CASE WHEN d.family_sku IS DISTINCT FROM r.family_sku
                                 THEN COALESCE(d.former_family, d.family_sku) ELSE d.former_family END,
            suspect_hash = CASE WHEN d.applied_version IS NOT NULL AND d.body_sha256 = r.sha256
                                 AND d.fetched_hash <> r.hash AND NOT {CAME_TWICE} THEN r.hash END
        FROM unnest(CAST(:ids AS bigint[]), CAST(:hashes AS text[]), CAST(:sha256s AS bytea[]), CAST(:skus AS text[]),
                    CAST(:families AS text[]), CAST(:parents AS boolean[]))
             AS r(id, hash, sha256, sku, family_sku, has_children)
        WHERE d.id = r.id RETURNING d.id, d.version""",
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


async def was_committed(db: AsyncConnection, run_id: str, arrival: FetchedDocument | FailedDocument) -> bool:
    """Whether the run has stored, or noted, exactly this: a commit's answer may be lost."""
    found = """SELECT 1 FROM documents WHERE id = :id AND fetched_run_id = CAST(:run_id AS uuid) AND NOT refetch
        AND body_sha256 = :sha256 AND fetched_hash IS NOT DISTINCT FROM CAST(:hash AS text)"""
    values = {"sha256": arrival.sha256, "hash": arrival.hash} if isinstance(arrival, FetchedDocument) else {}
    if not values:
        found = "SELECT 1 FROM documents WHERE id = :id AND failed_run_id = CAST(:run_id AS uuid)"
    return await value(db, found, {"id": arrival.id, "run_id": run_id, **values}) is not None


async def _store_bodies(db: AsyncConnection, documents: Sequence[FetchedDocument], versions: dict[int, int]) -> None:
    await ask(
        db,
        """
        INSERT INTO document_bodies (document_id, version, size_bytes, body)
        SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:versions AS bigint[]), CAST(:sizes AS int[]),
                             CAST(:bodies AS bytea[]))
        ON CONFLICT (document_id) DO UPDATE SET version = EXCLUDED.version, size_bytes = EXCLUDED.size_bytes,
            body = EXCLUDED.body""",
        {
            "ids": [document.id for document in documents],
            "versions": [versions[document.id] for document in documents],
            "sizes": [document.size_bytes for document in documents],
            "bodies": [document.body for document in documents],
        },
    )


async def _store_listings(db: AsyncConnection, documents: Sequence[FetchedDocument]) -> None:
    """Replace what the documents list. One that lacks more than the doubted reading before it does not confirm that."""
    pairs = sorted((sku, document.id) for document in documents for sku in document.child_skus)
    params = {
        "ids": [document.id for document in documents],
        "skus": [sku for sku, _ in pairs],
        "listers": [document_id for _, document_id in pairs],
    }
    await ask(
        db,
        """
        WITH gone AS (
            DELETE FROM listings l WHERE l.document_id = ANY(CAST(:ids AS bigint[])) AND NOT EXISTS (
                SELECT FROM unnest(CAST(:skus AS text[]), CAST(:listers AS bigint[])) AS r(sku, id)
                WHERE r.id = l.document_id AND r.sku = l.variant_sku COLLATE "C")
            RETURNING l.document_id, l.supplier_id, l.variant_sku)
        UPDATE documents d SET reread = false
        FROM gone g CROSS JOIN LATERAL (
            SELECT FROM variants
            WHERE supplier_id = g.supplier_id AND sku = g.variant_sku AND status = 'active' OFFSET 0) v
        WHERE d.id = ANY(CAST(:ids AS bigint[])) AND d.id = g.document_id AND d.reread""",
        params,
    )
    await ask(
        db,
        """
        INSERT INTO listings (supplier_id, variant_sku, document_id)
        SELECT d.supplier_id, r.sku, r.id
        FROM unnest(CAST(:skus AS text[]), CAST(:listers AS bigint[])) AS r(sku, id) JOIN documents d ON d.id = r.id
        ON CONFLICT DO NOTHING""",
        {"skus": params["skus"], "listers": params["listers"]},
    )


async def note_failed(db: AsyncConnection, run_id: str, documents: Sequence[FailedDocument]) -> None:
    """Note failures; what is dead is asked for again after growing pauses, beginning with `RUNS_IN_A_ROW`."""
    if not documents:
        return
    await ask(
        db,
        f"""
        UPDATE documents d SET failures = d.failures + 1, error = r.reason, failed_run_id = CAST(:run_id AS uuid),
            next_try_at = CASE WHEN r.dead AND d.failures >= {RUNS_IN_A_ROW - 1} THEN clock_timestamp()
                + LEAST(interval '1 day', interval '10 min' * power(2, LEAST(d.failures - {RUNS_IN_A_ROW - 1}, 10))) END
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id bigint, reason text, dead boolean) WHERE d.id = r.id""",
        {
            "run_id": run_id,
            "rows": to_json([{"id": item.id, "reason": item.reason[:500], "dead": item.dead} for item in documents]),
        },
    )


async def any_may_come(db: AsyncConnection, supplier_id: int, run_id: str) -> bool:
    """Whether documents failed in this run that are new or changed and may come in the next: not too often in a row."""
    return bool(
        await value(
            db,
            f"""
            SELECT EXISTS (SELECT FROM documents WHERE supplier_id = :supplier_id
                           AND failed_run_id = CAST(:run_id AS uuid) AND failures < {RUNS_IN_A_ROW}
                           AND (seen_hash IS NULL OR fetched_hash IS DISTINCT FROM seen_hash))""",
            {"supplier_id": supplier_id, "run_id": run_id},
        )
    )


async def any_unread(db: AsyncConnection, supplier_id: int, run_id: str) -> bool:
    """Whether a document that is there has not been read as the manifest names it; without a hash, not in this run."""
    return bool(
        await value(
            db,
            """
            SELECT EXISTS (SELECT FROM documents WHERE supplier_id = :supplier_id AND present
                           AND fetched_run_id IS DISTINCT FROM CAST(:run_id AS uuid)
                           AND (seen_hash IS NULL OR fetched_hash IS DISTINCT FROM seen_hash))""",
            {"supplier_id": supplier_id, "run_id": run_id},
        )
    )


async def documents_of_families(db: AsyncConnection, families: Sequence[tuple[int, str]]) -> list[list[StoredDocument]]:
    """For each of these families, supplier and SKU, its stored documents that are not removed, by name."""
    rows = await ask(
        db,
        f"""
        SELECT r.place, d.id, p.code AS supplier, d.file_name, d.url, d.sku, d.family_sku, d.has_children, b.version,
            d.applied_version, CAST(d.fetched_run_id AS text), d.reread, d.suspect_hash IS NOT NULL AS stale,
            {SPEAKS} AS speaks,
            COALESCE({OUTLIVED}, false) AS outlived, b.body
        FROM unnest(CAST(:suppliers AS int[]), CAST(:skus AS text[])) WITH ORDINALITY AS r(supplier_id, sku, place)
        CROSS JOIN LATERAL (
            SELECT * FROM documents WHERE supplier_id = r.supplier_id AND family_sku = r.sku AND present OFFSET 0) d
        JOIN document_bodies b ON b.document_id = d.id JOIN suppliers p ON p.id = d.supplier_id
        ORDER BY r.place, d.file_name""",
        {"suppliers": [supplier_id for supplier_id, _ in families], "skus": [sku for _, sku in families]},
    )
    found: list[list[StoredDocument]] = [[] for _ in families]
    for place, *values in rows:
        found[place - 1].append(StoredDocument(*values))
    return found


async def lock_versions(db: AsyncConnection, ids: Sequence[int]) -> dict[int, tuple[int, bool]]:
    """Lock documents, by id; returns each one's version and whether the manifest still names it."""
    rows = await ask(
        db,
        """
        SELECT d.id, d.version, d.present
        FROM (SELECT id FROM unnest(CAST(:ids AS bigint[])) AS t(id) ORDER BY id) r
        CROSS JOIN LATERAL (SELECT id, version, present FROM documents WHERE id = r.id FOR NO KEY UPDATE) d""",
        {"ids": list(ids)},
    )
    return {row.id: (row.version, row.present) for row in rows}


async def mark_applied(db: AsyncConnection, versions: dict[int, int]) -> None:
    """Note, with the family's rows, which versions of its documents they came from."""
    await ask(
        db,
        """
        UPDATE documents d SET applied_hash = d.fetched_hash, applied_version = d.version, refetch = false
        FROM unnest(CAST(:ids AS bigint[]), CAST(:versions AS bigint[])) AS r(id, version)
        WHERE d.id = r.id AND d.version = r.version""",
        {"ids": list(versions), "versions": list(versions.values())},
    )


async def reset_supplier(db: AsyncConnection, supplier_id: int) -> None:
    """Take everything of a supplier as unknown, so that the next sync fetches it; nothing is deleted."""
    await ask(
        db,
        """
        UPDATE documents SET applied_hash = NULL, applied_version = NULL, fetched_hash = NULL, suspect_hash = NULL,
            failures = 0, next_try_at = NULL WHERE supplier_id = :supplier_id""",
        {"supplier_id": supplier_id},
    )
    await note_clean(db, supplier_id, None, None)


async def forget_fetched(db: AsyncConnection, supplier_id: int, family_sku: str) -> None:
    """A family's documents could not be read: fetch them again next time, even under the same hash."""
    await ask(
        db,
        """
        UPDATE documents SET refetch = true
        WHERE supplier_id = :supplier_id AND family_sku = :family_sku AND applied_version IS DISTINCT FROM version""",
        {"supplier_id": supplier_id, "family_sku": family_sku},
    )
