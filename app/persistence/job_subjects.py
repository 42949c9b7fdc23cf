"""What jobs are about: a family's SKU, a picture's address, a supplier; and the jobs that are about one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.job_lists import ERROR_SHOWN_CHARS, LISTED, TIMES, JobRow
from app.persistence.pictures.addresses import url_sha256

PRODUCT_FAMILY, IMAGE_UPLOAD = "product-family", "image-upload"
"""As app/jobs names them; neither knows the other."""
NEWEST_RUNS = 200
"""How many runs of a supplier are looked through: a job is found by its key within a run."""

SUBJECTS = """
SELECT j.id, COALESCE(j.args->>'family_sku', a.url, s.code) AS about
FROM jobs j JOIN suppliers s ON s.id = j.supplier_id
LEFT JOIN addresses a ON j.queue = 'image-upload' AND a.id = CAST(j.args->>'address_id' AS bigint)
WHERE j.id = ANY(CAST(:ids AS text[]))
"""


async def subjects_of(db: AsyncConnection, ids: Sequence[str]) -> dict[str, str]:
    """What each of these jobs is about, by id."""
    rows = await db.execute(text(SUBJECTS), {"ids": list(ids)})
    return {row.id: row.about for row in rows}


async def errors_of(db: AsyncConnection, job_id: str) -> list[dict[str, Any]]:
    """What went wrong on each attempt of a job: `attempt`, `error`, `at`."""
    found = await db.scalar(text("SELECT errors FROM jobs WHERE id = :id"), {"id": job_id})
    return list(found or [])


FAMILY_KEYS = """
SELECT DISTINCT d.supplier_id, d.family_sku || '@' || v.version AS key
FROM suppliers s JOIN documents d ON d.supplier_id = s.id AND d.family_sku = :term
CROSS JOIN LATERAL (VALUES (d.version), (d.applied_version)) v(version) WHERE v.version IS NOT NULL
"""
PICTURE_KEYS = """
SELECT DISTINCT v.supplier_id, CAST(a.id AS text) AS key
FROM addresses a JOIN shown_pictures p ON p.address_id = a.id JOIN variants v ON v.id = p.variant_id
WHERE a.url_sha256 = :url
UNION SELECT v.supplier_id, CAST(p.address_id AS text)
FROM variants v JOIN shown_pictures p ON p.variant_id = v.id WHERE lower(v.sku) = lower(CAST(:term AS text) COLLATE "C")
UNION SELECT v.supplier_id, CAST(p.address_id AS text)
FROM products f JOIN variants v ON v.product_id = f.id JOIN shown_pictures p ON p.variant_id = v.id WHERE f.sku = :term
"""
SUPPLIER_KEYS = (
    "SELECT s.id AS supplier_id, s.code AS key FROM suppliers s WHERE s.code = :term OR s.document_id = :term"
)


def about_statement(queue: str) -> str:
    """The statement behind `jobs_about`: keys first, then each key in each of its supplier's newest runs."""
    keys = {PRODUCT_FAMILY: FAMILY_KEYS, IMAGE_UPLOAD: PICTURE_KEYS}.get(queue, SUPPLIER_KEYS)
    return f"""
    WITH keys AS MATERIALIZED ({keys}),
    newest AS MATERIALIZED (
        SELECT r.id, r.supplier_id FROM (SELECT DISTINCT supplier_id FROM keys) k
        CROSS JOIN LATERAL (SELECT r.id, r.supplier_id FROM runs r WHERE r.supplier_id = k.supplier_id
                            ORDER BY r.created_at DESC, r.id DESC LIMIT :runs) r)
    SELECT {LISTED}, {TIMES}, left(j.error, :shown) AS error
    FROM keys k JOIN newest n ON n.supplier_id = k.supplier_id
    CROSS JOIN LATERAL (SELECT * FROM jobs o WHERE o.run_id = n.id AND o.queue = :queue AND o.key = k.key) j
    WHERE NOT j.direct ORDER BY j.created_at DESC, j.id DESC LIMIT :limit"""


async def jobs_about(db: AsyncConnection, queue: str, term: str, limit: int) -> list[JobRow]:
    """The newest jobs of a queue about a SKU, an address or a supplier; of a family those for its latest documents."""
    rows = await db.execute(text(about_statement(queue)), about_parameters(queue, term, limit))
    return [JobRow(**row) for row in rows.mappings()]


def about_parameters(queue: str, term: str, limit: int) -> dict[str, object]:
    """What `about_statement` is asked with."""
    wanted: dict[str, object] = {"queue": queue, "term": term, "limit": limit, "runs": NEWEST_RUNS}
    return wanted | {"shown": ERROR_SHOWN_CHARS} | ({"url": url_sha256(term)} if queue == IMAGE_UPLOAD else {})
