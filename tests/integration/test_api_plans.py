"""Every list and lookup of the API goes by an index, shown by EXPLAIN on tables of tens of thousands of rows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.persistence import (
    categories,
    change_feed,
    explained,
    job_subjects,
    measures,
    minutes,
    moving,
    product_lists,
    retention,
    run_waits,
    variant_lists,
)
from app.persistence.audit import AuditFilter, entries_statement
from app.persistence.job_lists import COUNT_JOBS, JobFilter, jobs_statement
from app.persistence.product_lists import After, ProductFilter, Sort, keys_statement
from app.persistence.run_lists import problems_statement, runs_statement
from app.persistence.supplier_records import SELECT as SELECT_SUPPLIERS
from app.persistence.variant_lists import VariantFilter
from app.persistence.whole_products import Wanted, whole_statement, whole_variants_statement
from app.persistence.whole_variants import BY_ID, OF_PRODUCTS, PARTS, variants_statement
from tests.support.stack import Servers, Stack, open_stack

FILL = """
INSERT INTO suppliers (document_id, code, name) SELECT 'doc' || n, 'S' || n, 'Supplier' FROM generate_series(1, 20) n;
INSERT INTO runs (id, supplier_id, mode, trigger, status, supplier_job_id, created_at, finished_at, jobs_forgotten)
SELECT gen_random_uuid(), 3 + n % 20, 'queued', 'api', CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END, 'none',
    now() - n * interval '1 min', now() - n * interval '1 min', n > 10000
FROM generate_series(1, 20000) n;
INSERT INTO jobs (id, queue, run_id, supplier_id, key, args, state, error, created_at)
SELECT 'image-' || r.n, 'image-upload', r.id, r.supplier_id, 'k' || r.n, jsonb_build_object('wide', repeat('x', 600)),
    CASE WHEN r.n % 100 = 0 THEN 'failed' ELSE 'completed' END, 'why', now() - r.n * interval '1 s'
FROM (SELECT id, supplier_id, row_number() OVER () AS n FROM runs) r;
INSERT INTO jobs (id, queue, run_id, supplier_id, key, args, state, created_at)
SELECT 'image-all-' || n, 'image-upload', r.id, r.supplier_id, 'k-all' || n,
    jsonb_build_object('wide', repeat('x', 600)), 'completed', now() - n * interval '1 s'
FROM generate_series(1, 20000) n, (SELECT id, supplier_id FROM runs ORDER BY created_at LIMIT 1) r;
INSERT INTO problems (run_id, severity, stage, kind, reason)
SELECT id, 'error', 'image', 'http-404', 'gone' FROM runs, generate_series(1, 2);
INSERT INTO products (supplier_id, sku, status, content, content_digest, applied_version, updated_at)
SELECT 3 + n % 20, 'P-' || lpad(CAST(n AS text), 6, '0'), CASE WHEN n % 100 = 0 THEN 'discontinued' ELSE 'active' END,
    jsonb_build_object('name', jsonb_build_object('nl', name || n), 'category', 'C' || n % 500 || '/X'), '',
    1, now() - n * interval '1 min'
FROM generate_series(1, 30000) n, LATERAL (SELECT CASE n % 10 WHEN 0 THEN 'Tas pen/' ELSE 'Tas nummer' END) AS t(name);
INSERT INTO variants (supplier_id, sku, product_id, status, position, is_primary, content, content_digest,
    prices_digest, imprint_digest, pictures_digest, generation)
SELECT p.supplier_id, p.sku || '-' || n, p.id, 'active', n, n = 1,
    jsonb_build_object('ean', '8712345' || lpad(CAST(p.id * 2 + n AS text), 6, '0')), '', '', '', '', 1
FROM products p, generate_series(1, 2) n;
INSERT INTO media (sha256, key, content_type, width, height, size_bytes)
SELECT decode(md5(CAST(n AS text)), 'hex'), 'k' || n, 'image/jpeg', 1, 1, 1 FROM generate_series(1, 30000) n;
INSERT INTO addresses (url_sha256, url, state, media_id) SELECT sha256, key, 'stored', id FROM media;
INSERT INTO shown_pictures (variant_id, generation, position, role, address_id)
SELECT v.id, 1, 0, 'primary', (SELECT min(id) FROM addresses) + v.id % 30000 FROM variants v;
INSERT INTO prices (variant_id, tiers) SELECT id, '[]' FROM variants;
INSERT INTO imprint_positions (variant_id, packed) SELECT id, '' FROM variants;
INSERT INTO documents (supplier_id, file_name, url, family_sku)
SELECT supplier_id, sku || '.json', 'http://x', sku FROM products;
INSERT INTO changes (seq, kind, entity, supplier_id, sku, product_sku)
SELECT row_number() OVER (), 'created', 'product', supplier_id, sku, sku FROM products;
INSERT INTO category_files (profile, url, checked_at) VALUES ('p', 'http://x', now());
INSERT INTO categories (profile, key, name) SELECT 'p', 'C' || n, '{}' FROM generate_series(1, 20000) n;
INSERT INTO audit (actor, via, action, target, result, at)
SELECT 'key' || n % 500, 'api', 'act' || n % 500, 'target' || n % 500, 'ok', now() - n * interval '1 min'
FROM generate_series(1, 20000) n;
INSERT INTO queue_minutes (minute, queue, done, failed, waiting, active, oldest_s)
SELECT now() - n * interval '1 min', name, 1, 0, 1, 0, 0 FROM generate_series(1, 20000) n, queues;
INSERT INTO idempotency_keys (caller, key, body_sha256) SELECT 'c', 'k' || n, '' FROM generate_series(1, 20000) n;
"""
LARGE = {
    "runs", "jobs", "problems", "products", "variants", "media", "addresses", "shown_pictures", "prices",
    "imprint_positions", "documents", "changes", "categories", "idempotency_keys", "audit", "queue_minutes",
}  # fmt: skip
NOW = datetime.now(UTC)
RUN = str(UUID(int=1))


@pytest.fixture(scope="module")
async def filled(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as stack:
        for statement in FILL.split(";\n"):
            if statement.strip():
                async with stack.services.database.begin() as db:
                    await db.execute(text(statement))
        async with stack.services.database.quick() as db:
            await db.execute(text("VACUUM ANALYZE"))
        yield stack


def jobs(*, after: bool, **wanted: Any) -> tuple[str, dict[str, object]]:
    position = (NOW, "x") if after else None
    return jobs_statement(JobFilter("image-upload", **wanted), after=position, limit=50)


def products(
    *, after: bool = False, sort: Sort = "sku", common: bool = False, **wanted: Any
) -> tuple[str, dict[str, object]]:
    by = After("P-000100", 3, NOW if sort == "updatedAt" else None)
    position = by if after else None
    statement, parameters = keys_statement(ProductFilter(**wanted), sort=sort, after=position, common=common)
    return f"{statement} LIMIT 50", parameters


def whole(sku: str, supplier: str | None, wanted: Wanted) -> tuple[str, dict[str, object]]:
    condition, parameters = product_lists.with_sku(sku, supplier)
    return whole_statement(condition, wanted), parameters


def variants(*, after: bool = False, **wanted: Any) -> tuple[str, dict[str, object]]:
    position = ("P-000100-1", 3) if after else None
    return variant_lists.keys_statement(VariantFilter(**wanted), after=position, limit=50)


def entries(*, after: bool = False, **wanted: Any) -> tuple[str, dict[str, object]]:
    return entries_statement(AuditFilter(**wanted), before=(NOW, 10) if after else None, limit=50)


def about(queue: str, term: str) -> tuple[str, dict[str, object]]:
    return job_subjects.about_statement(queue), job_subjects.about_parameters(queue, term, 50)


STATEMENTS: dict[str, tuple[str, dict[str, object]]] = {
    "jobs": jobs(after=False),
    "jobs, next page": jobs(after=True),
    "jobs by state": jobs(after=True, state="failed"),
    "jobs by run": jobs(after=False, run_id=RUN),
    "jobs by run and state": jobs(after=False, run_id=RUN, state="failed"),
    "jobs by supplier": jobs(after=True, supplier="S3"),
    "jobs by supplier and state": jobs(after=False, supplier="doc3", state="failed"),
    "one job": ("SELECT * FROM jobs WHERE id = :id AND queue = :queue", {"id": "image-1", "queue": "image-upload"}),
    "runs": runs_statement(supplier=None, status=None, after=None, limit=50),
    "runs, next page": runs_statement(supplier=None, status=None, after=(NOW, RUN), limit=50),
    "runs by supplier": runs_statement(supplier="S3", status=None, after=(NOW, RUN), limit=50),
    "runs by status": runs_statement(supplier=None, status="failed", after=None, limit=50),
    "runs by supplier and status": runs_statement(supplier="S3", status="failed", after=None, limit=50),
    "scraped: the oldest jobs": (measures.OLDEST_JOBS, {"queues": ["image-upload"]}),
    "scraped: the backlog": (measures.BACKLOG, {}),
    "scraped: the suppliers": (measures.SUPPLIERS, {}),
    "problems": problems_statement(RUN, severity=None, stage=None, after_id=10, limit=50),
    "problems by severity": problems_statement(RUN, severity="error", stage="image", after_id=0, limit=50),
    "products": products(),
    "products, next page": products(after=True),
    "products by supplier": products(supplier="S3", after=True),
    "products by status": products(status="discontinued"),
    "products by category": products(category="C7/X"),
    "products below a category": products(category="C7", after=True),
    "products by time": products(updated_since=NOW),
    "products by words": products(words="nummer777"),
    "products by words apart": products(words="PEN/770"),
    "products by words with accents": products(words="nümmer777"),
    "products by common words": products(words="tas", common=True),
    "products by common words with accents": products(words="täs", common=True),
    "products by all": products(supplier="S3", status="active", category="C7", words="nummer7", updated_since=NOW),
    "products by sku and time": products(sort="updatedAt", after=True),
    "variants": variants(),
    "variants, next page": variants(after=True),
    "variants by ean": variants(ean="8712345007777"),
    "variants by sku": variants(sku="P-000100-1"),
    "variants by supplier": variants(supplier="S3", after=True),
    "variants by product": variants(product_sku="P-000100"),
    "variants by status": variants(status="discontinued"),
    "variants by time": variants(updated_since=NOW),
    "variants of products": (variants_statement(OF_PRODUCTS, PARTS), {"ids": list(range(1, 51))}),
    "variants by id": (variants_statement(BY_ID, PARTS), {"ids": list(range(1, 51))}),
    "product by sku": (
        "SELECT * FROM products p WHERE p.sku = :sku", {"sku": "P-000100"},
    ),
    "a whole product": whole("P-000100", None, Wanted()),
    "a supplier's whole product": whole("P-000100", "S3", Wanted()),
    "a product without variants": whole("P-000100", None, Wanted(parts=None)),
    "a whole variant": whole_variants_statement(VariantFilter(sku="P-000100-1"), limit=100),
    "what lists show of variants": (product_lists.LIST_EXTRAS, {"ids": list(range(1, 51))}),
    "changes": (change_feed.CHANGES_SINCE, {"since": 1000, "limit": 50}),
    "history": (change_feed.HISTORY, {"supplier_id": 3, "sku": "P-000100", "before_id": 10**9, "limit": 50}),
    "explained documents": (explained.DOCUMENTS, {"sku": "P-000100", "file_name": "P-000100.json"}),
    "categories": (categories.CATEGORIES, {"after_key": "C1", "limit": 50}),
    "audit": entries(),
    "audit, next page": entries(after=True),
    "audit by actor": entries(actor="key7", after=True),
    "audit by action": entries(action="act7"),
    "audit by target": entries(target="target7", after=True),
    "audit by time": entries(since=NOW, until=NOW),
    "moving jobs": (
        moving.MOVING_JOBS,
        {
            "ids": ["image-1"],
            "failed": [f"image-{number}" for number in range(2000)],
            "run_ids": [RUN],
            "queues": ["image-upload", "product-family"],
            "most": 500,
        },
    ),
    "moving runs": (moving.MOVING_RUNS, {"ids": [RUN], "newest": 20}),
    "jobs of old runs": (
        retention.HANGING.format(table="jobs", condition="h.state = 'completed'"), {"runs": [RUN] * 100, "most": 2000},
    ),
    "problems of old runs": (
        retention.HANGING.format(table="problems", condition="true"), {"runs": [RUN] * 100, "most": 2000},
    ),
    "forgotten changes": (retention.FORGOTTEN_CHANGES, {"most": 2000}),
    "old runs": (retention.OLD_RUNS.format(condition=retention.OLD_RUN), {"age_s": 86_400.0, "most": 100}),
    "what jobs are about": (job_subjects.SUBJECTS, {"ids": ["image-1", "image-2"]}),
    "jobs about a family": about("product-family", "P-000100"),
    "jobs about a picture": about("image-upload", "k100"),
    "jobs about a supplier": about("supplier-sync", "S3"),
    "changes of a run": (change_feed.OF_RUN, {"run_id": RUN, "limit": 50}),
    "suppliers with their last runs": (
        f"{SELECT_SUPPLIERS} WHERE s.code > :after ORDER BY s.code LIMIT 500", {"after": ""},
    ),
    "what runs wait for": (run_waits.RUN_WAITS, {"runs": [RUN], "queues": ["image-upload", "product-family"]}),
    "charts": (minutes.QUEUE_SPANS, {"span_s": 6 * 3600, "bar_s": 300}),
    "what a minute came to": (minutes.SERVICE_NOW, {"since": NOW, "until": NOW, "after": 29_990}),
    "the queues' minute": (minutes.QUEUES_NOW, {}),
    "old idempotency keys": (
        "DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 h'", {},
    ),
}  # fmt: skip


async def plan_of(stack: Stack, statement: str, parameters: dict[str, object]) -> list[dict[str, Any]]:
    async with stack.services.database.begin() as db:
        found = await db.scalar(text(f"EXPLAIN (FORMAT JSON) {statement}"), parameters)
    plan = json.loads(found) if isinstance(found, str) else found
    return list(nodes(plan[0]["Plan"]))


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


def outline(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What to read when a plan is not as expected."""
    return [
        (n["Node Type"], n.get("Relation Name"), n.get("Index Name"), n["Plan Rows"], n["Total Cost"]) for n in found
    ]


@pytest.mark.parametrize("name", STATEMENTS)
async def test_it_reads_no_large_table_whole(filled: Stack, name: str) -> None:
    found = await plan_of(filled, *STATEMENTS[name])
    scanned = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
    assert scanned & LARGE == set(), outline(found)
    assert any("Index" in node["Node Type"] for node in found)


PAGES = (
    "jobs, next page",
    "jobs by state",
    "runs, next page",
    "runs by supplier",
    "products, next page",
    "products by common words",
    "products by sku and time",
    "variants, next page",
    "variants by supplier",
    "variants by status",
    "changes",
    "history",
    "audit, next page",
    "audit by actor",
    "audit by target",
)


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_read_in_its_order_without_sorting_all_of_it(filled: Stack, name: str) -> None:
    """A page of each of the six states may be put together; nothing larger is sorted."""
    found = await plan_of(filled, *STATEMENTS[name])
    assert all(node["Plan Rows"] <= 6 * 50 for node in found if node["Node Type"] == "Sort"), outline(found)


async def test_the_numbers_of_a_queue_are_told_without_its_jobs(filled: Stack) -> None:
    found = await plan_of(filled, COUNT_JOBS, {"queues": ["image-upload"]})
    assert "jobs" not in {node.get("Relation Name") for node in found}, outline(found)


async def test_forgetting_finds_what_has_grown_old_since_in_an_index(filled: Stack) -> None:
    statement = retention.OLD_RUNS.format(condition=retention.THINNED)
    found = await plan_of(filled, statement, {"age_s": 86_400.0, "most": 100})
    assert "runs_to_thin" in {node.get("Index Name") for node in found}, outline(found)


async def test_words_beside_a_slash_are_found_in_the_index_that_has_them_apart(filled: Stack) -> None:
    found = await plan_of(filled, *STATEMENTS["products by words apart"])
    assert "products_by_words_between_signs" in {node.get("Index Name") for node in found}, outline(found)
