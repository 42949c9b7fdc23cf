"""What the feed does not name any more: dropped, taken over, discontinued."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.catalogue.families import Named
from app.persistence.statements import ask, value
from app.persistence.states import OPEN_JOB

TO_SETTLE = f"""v.dropped_run_id <> ALL(ARRAY(SELECT run_id FROM jobs
    WHERE supplier_id = :supplier_id AND queue = 'supplier-sync' AND state IN {OPEN_JOB}))"""
"""Variant v was dropped, and not by a run whose documents are still coming: one of those may list it."""
LISTED = """EXISTS (SELECT FROM listings l JOIN speaking_documents d ON d.id = l.document_id
    WHERE l.supplier_id = v.supplier_id AND l.variant_sku = v.sku)"""
LISTED_FOR_SURE = """EXISTS (SELECT FROM listings l JOIN speaking_documents d ON d.id = l.document_id
    WHERE l.supplier_id = v.supplier_id AND l.variant_sku = v.sku AND d.suspect_hash IS NULL)"""
HELD_BACK = "EXISTS (SELECT FROM runs r WHERE r.id = v.dropped_run_id AND r.guard IS NOT NULL)"
"""Variant v was dropped in a run whose guard tripped, where nothing goes: what that manifest hid may list it."""

TOUCHED = """touched AS (
        UPDATE products SET updated_at = clock_timestamp() WHERE id IN (
            SELECT id FROM products WHERE id IN (SELECT product_id FROM placed) ORDER BY sku FOR NO KEY UPDATE))"""
"""The products of `placed` variants show something else from now on, be it long after their documents were written."""


async def mark_dropped(db: AsyncConnection, dropped: Mapping[int, str]) -> None:
    """Note variants that their family does not list any more: id to run. `take_dropped` settles them.

    What an earlier run's guard holds back stays so until a whole manifest is judged again (`adopt_dropped`).
    """
    if dropped:
        await db.execute(
            text(f"""
            UPDATE variants v SET dropped_run_id = t.run_id
            FROM unnest(CAST(:ids AS bigint[]), CAST(:runs AS uuid[])) AS t(id, run_id)
            WHERE v.id = t.id AND NOT {HELD_BACK}"""),
            {"ids": list(dropped), "runs": list(dropped.values())},
        )


async def drop_families(db: AsyncConnection, supplier_id: int, run_id: str, skus: Sequence[str]) -> list[str]:
    """Note the variants of active products as dropped and discontinue the products; returns the SKUs of these.

    One with a variant that a document of another family lists stays until that one took it (`let_emptied_go`): it may
    be in doubt, or fail, and nothing that is discontinued has something active.
    """
    found = await db.scalars(  # before the next statement: so that sees what a family took that commits meanwhile
        text("""
        SELECT id FROM products WHERE supplier_id = :supplier_id AND status = 'active'
          AND sku = ANY(CAST(:skus AS text[])) ORDER BY sku FOR NO KEY UPDATE"""),
        {"supplier_id": supplier_id, "skus": list(skus)},
    )
    held = list(found)
    gone = await db.scalars(
        text(f"""
        UPDATE products p SET status = 'discontinued', updated_at = clock_timestamp()
        WHERE id = ANY(CAST(:ids AS bigint[]))
          AND NOT EXISTS (SELECT FROM variants v WHERE v.product_id = p.id AND v.status = 'active' AND {LISTED})
        RETURNING sku"""),
        {"ids": held},
    )
    await db.execute(
        text("""
        UPDATE variants SET dropped_run_id = CAST(:run_id AS uuid)
        WHERE product_id = ANY(CAST(:ids AS bigint[])) AND status = 'active'"""),
        {"ids": held, "run_id": run_id},
    )
    return sorted(gone)


async def let_emptied_go(db: AsyncConnection, families: Sequence[Named]) -> list[Named]:
    """Discontinue those of these active products that have no document and no active variant left; returns them.

    The caller has just taken dropped variants from them, and holds them: two that take at once see one another.
    """
    if not families:
        return []
    rows = await ask(
        db,
        """
        UPDATE products SET status = 'discontinued', updated_at = clock_timestamp() WHERE id IN (
            SELECT p.id FROM unnest(CAST(:suppliers AS int[]), CAST(:skus AS text[])) AS r(supplier_id, sku)
            JOIN products p ON p.supplier_id = r.supplier_id AND p.sku = r.sku AND p.status = 'active'
            WHERE NOT EXISTS (SELECT FROM variants v WHERE v.product_id = p.id AND v.status = 'active')
              AND NOT EXISTS (SELECT FROM documents d
                              WHERE d.supplier_id = p.supplier_id AND d.family_sku = p.sku AND d.present)
            ORDER BY p.supplier_id, p.sku FOR NO KEY UPDATE OF p)
        RETURNING supplier_id, sku""",
        {"suppliers": [supplier_id for supplier_id, _ in families], "skus": [sku for _, sku in families]},
    )
    return sorted((row.supplier_id, row.sku) for row in rows)


async def drop_unlisted(db: AsyncConnection, supplier_id: int, run_id: str, families: Sequence[str]) -> None:
    """Note as dropped what only missing documents of these families listed, of which each was one variant.

    Families whose documents are not all applied and believed are left to the family stage, which decides what they say.
    """
    await db.execute(
        text("""
        UPDATE variants SET dropped_run_id = CAST(:run_id AS uuid) WHERE id IN (
            SELECT v.id FROM products p JOIN variants v ON v.product_id = p.id
            WHERE p.supplier_id = :supplier_id AND p.sku = ANY(CAST(:families AS text[])) AND v.status = 'active'
              AND NOT EXISTS (SELECT FROM documents d WHERE d.supplier_id = p.supplier_id AND d.family_sku = p.sku
                              AND d.present AND (d.applied_version IS DISTINCT FROM d.version
                                                 OR d.suspect_hash IS NOT NULL))
              AND (SELECT NOT bool_or(d.present) FROM listings l JOIN documents d ON d.id = l.document_id
                   WHERE l.supplier_id = v.supplier_id AND l.variant_sku = v.sku AND d.family_sku = p.sku)
            ORDER BY v.sku FOR NO KEY UPDATE OF v)"""),
        {"supplier_id": supplier_id, "run_id": run_id, "families": list(families)},
    )


async def adopt_dropped(db: AsyncConnection, supplier_id: int, run_id: str) -> None:
    """Note what earlier runs left to settle as dropped by this one, whose manifest decides about it now.

    The guard held it back, or the run failed or was cancelled before its end.
    """
    await db.execute(
        text(f"""
        UPDATE variants SET dropped_run_id = CAST(:run_id AS uuid) WHERE id IN (
            SELECT v.id FROM variants v
            WHERE v.supplier_id = :supplier_id AND v.dropped_run_id IS NOT NULL AND v.status = 'active' AND {TO_SETTLE}
            ORDER BY v.sku FOR NO KEY UPDATE)"""),
        {"supplier_id": supplier_id, "run_id": run_id},
    )


async def step_back_held(db: AsyncConnection, supplier_id: int) -> list[tuple[str, str]]:
    """See that what waits is not its family's first beside another; returns those that were, and families.

    The guard holds it back, or documents were not read, or the only documents that list it are in doubt: these take it
    in a later run, if ever.
    """
    rows = await db.execute(
        text(f"""
        WITH placed AS (
        UPDATE variants v SET is_primary = false, updated_at = clock_timestamp() FROM products p
        WHERE p.id = v.product_id AND v.id IN (
            SELECT v.id FROM variants v
            WHERE v.supplier_id = :supplier_id AND v.dropped_run_id IS NOT NULL AND v.status = 'active' AND v.is_primary
              AND {TO_SETTLE} AND NOT {LISTED_FOR_SURE}
              AND EXISTS (SELECT FROM variants o WHERE o.product_id = v.product_id AND o.id <> v.id
                          AND o.is_primary AND o.status = 'active')
            ORDER BY v.sku FOR NO KEY UPDATE)
        RETURNING v.sku, v.product_id, p.sku AS product_sku), {TOUCHED}
        SELECT sku, product_sku FROM placed"""),
        {"supplier_id": supplier_id},
    )
    return sorted((row.sku, row.product_sku) for row in rows)


class Gone(msgspec.Struct, frozen=True, order=True):
    """A variant that was discontinued."""

    sku: str
    product_sku: str
    steps_back: bool
    """It was its family's first, and is so no more."""


async def any_dropped(db: AsyncConnection, supplier_id: int) -> bool:
    """Whether there is something to settle."""
    return bool(
        await value(
            db,
            """
            SELECT EXISTS (SELECT FROM variants
                           WHERE supplier_id = :supplier_id AND dropped_run_id IS NOT NULL AND status = 'active')""",
            {"supplier_id": supplier_id},
        )
    )


async def take_dropped(db: AsyncConnection, supplier_id: int, *, all_families: bool) -> list[Gone]:
    """Discontinue the dropped variants that no document lists any more; returns them by SKU.

    With `all_families` False those of discontinued families alone. What the guard holds back stays. One that was its
    family's first is not so beside another.
    """
    rows = await db.execute(
        text(f"""
        WITH going AS (
            SELECT v.id, v.is_primary FROM variants v
            WHERE v.supplier_id = :supplier_id AND v.dropped_run_id IS NOT NULL AND v.status = 'active' AND {TO_SETTLE}
              AND NOT {LISTED} AND NOT {HELD_BACK}
              AND (:all_families OR (SELECT p.status FROM products p WHERE p.id = v.product_id) = 'discontinued')
            ORDER BY v.sku FOR NO KEY UPDATE),
        placed AS (
        UPDATE variants v SET status = 'discontinued', dropped_run_id = NULL, updated_at = clock_timestamp(),
            is_primary = g.is_primary AND NOT EXISTS (SELECT FROM variants o WHERE o.product_id = v.product_id
                AND o.id <> v.id AND o.is_primary AND o.status = 'active')
        FROM going g, products p WHERE g.id = v.id AND p.id = v.product_id
        RETURNING v.sku, v.product_id, p.sku AS product_sku, g.is_primary AND NOT v.is_primary AS steps_back), {TOUCHED}
        SELECT sku, product_sku, steps_back FROM placed"""),
        {"supplier_id": supplier_id, "all_families": all_families},
    )
    return sorted(Gone(*row) for row in rows)


TAKERS = f"""
SELECT t.family_sku, max(d.version) AS version FROM (
    SELECT v.sku, min(d.family_sku COLLATE "C") AS family_sku FROM variants v
    JOIN listings l ON l.supplier_id = v.supplier_id AND l.variant_sku = v.sku
    JOIN speaking_documents d ON d.id = l.document_id
    WHERE v.supplier_id = :supplier_id AND v.dropped_run_id IS NOT NULL AND v.status = 'active' AND {TO_SETTLE}
    GROUP BY v.sku) t
JOIN documents d ON d.supplier_id = :supplier_id AND d.family_sku = t.family_sku AND d.present
WHERE t.family_sku <> ALL(CAST(:but_not AS text[]))
GROUP BY t.family_sku ORDER BY t.family_sku
"""
"""Of several families the first by code point, as `owner_of` judges, whatever the database sorts by."""


async def takers(db: AsyncConnection, supplier_id: int, but_not: Collection[str]) -> list[tuple[str, int]]:
    """The families that take dropped variants over, since their documents list them: SKU and newest version.

    `but_not` are the families that have just been written, which would say the same again.
    """
    rows = await db.execute(text(TAKERS), {"supplier_id": supplier_id, "but_not": list(but_not)})
    return [(row.family_sku, row.version) for row in rows]


async def families_without_documents(db: AsyncConnection, supplier_id: int) -> list[str]:
    """SKUs of active products whose documents the manifest names no more."""
    rows = await db.scalars(
        text("""
        SELECT p.sku FROM products p WHERE p.supplier_id = :supplier_id AND p.status = 'active' AND NOT EXISTS (
            SELECT FROM documents d WHERE d.supplier_id = p.supplier_id AND d.family_sku = p.sku AND d.present)
        ORDER BY p.sku"""),
        {"supplier_id": supplier_id},
    )
    return list(rows)


async def count_active_families(db: AsyncConnection, supplier_id: int, before_run: str | None = None) -> int:
    """How many active products a removal is measured by; with a run, without those that it has itself made active.

    Nor do those count that came with manifests which the guard held back: else what is held back would soon be few of
    many, and would go without anybody's word. A sync that is retried by hand after its run's end finds products that
    later runs brought in.
    """
    return int(
        await db.scalar(
            text("""
            WITH believed AS (
                SELECT max(created_at) AS at FROM runs WHERE supplier_id = :supplier_id AND guard IS NULL
                  AND status IN ('completed', 'completed_with_errors')
                  AND NOT jsonb_exists(options, 'skus') AND NOT jsonb_exists(options, 'reparse')),
            bringing AS (
                SELECT id FROM runs LEFT JOIN believed ON true WHERE supplier_id = :supplier_id AND guard IS NOT NULL
                  AND created_at > COALESCE(believed.at, '-infinity')
                UNION SELECT CAST(:run_id AS uuid))
            SELECT count(*) FROM products p LEFT JOIN runs r ON r.id = CAST(:run_id AS uuid)
            WHERE p.supplier_id = :supplier_id AND p.status = 'active'
              AND (r.id IS NULL OR r.finished_at IS NOT NULL OR p.created_at < r.created_at)
              AND p.sku NOT IN (SELECT c.sku FROM bringing b JOIN changes c ON c.run_id = b.id
                                WHERE c.entity = 'product' AND c.supplier_id = :supplier_id
                                  AND c.kind IN ('created', 'reactivated'))"""),
            {"supplier_id": supplier_id, "run_id": before_run},
        )
        or 0
    )
