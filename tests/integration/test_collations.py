"""Lists, cursors and prefixes in a database that sorts as a dictionary does: the same as in one that sorts by bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from app.cli.embedded.postgres import start_postgres
from app.persistence import job_subjects
from app.persistence.database import Database
from app.persistence.migrations import migrate
from tests.support.api_client import ApiClient, api_client
from tests.support.databases import database_named, execute
from tests.support.odd_locale import LOCALE, is_possible, odd_locale
from tests.support.stack import Servers, Stack, open_stack

pytestmark = pytest.mark.skipif(not is_possible(), reason="localedef (glibc) is not installed")
ODD = "A B Z a b z Ä ä ö ß é ss 0 10 2 9 a-1 a1 A-2 a_b a.b ab aB Ab a+b (a) z€ a~ _ - ~"
KEYS = sorted(ODD.split())
"""As every list has them: by code points, which is by UTF-8's bytes."""
PATHS = ["a", "A", "a/b", "a/b/c", "a-b", "a b", "ab", "a0", "ä", "ä/b", "A/b", "a/ä"]
FILL = """
INSERT INTO suppliers (document_id, code, name) SELECT 'of ' || k, k, 'Supplier' FROM unnest(CAST(:keys AS text[])) k;
INSERT INTO products (supplier_id, sku, status, content, content_digest, applied_version, updated_at)
SELECT s.id, k, 'active', jsonb_build_object('name', CAST('{}' AS jsonb), 'category', c), '', 1, '2026-01-01'
FROM (SELECT id FROM suppliers ORDER BY id LIMIT 2) s,
    unnest(CAST(:keys AS text[]), CAST(:paths AS text[])) AS r(k, c) WHERE k IS NOT NULL;
INSERT INTO variants (supplier_id, sku, product_id, status, position, is_primary, content, content_digest,
    prices_digest, imprint_digest, pictures_digest)
SELECT supplier_id, 'v' || sku, id, 'active', 1, true, jsonb_build_object('ean', 'e' || sku), '', '', '', ''
FROM products;
INSERT INTO runs (id, supplier_id, mode, trigger, status, supplier_job_id)
SELECT gen_random_uuid(), min(id), 'queued', 'api', 'completed', 'job' FROM suppliers;
INSERT INTO jobs (id, queue, run_id, supplier_id, key, args, state, created_at)
SELECT k, 'supplier-sync', r.id, r.supplier_id, k, '{}', 'completed', '2026-01-01'
FROM runs r, unnest(CAST(:keys AS text[])) k;
INSERT INTO addresses (url_sha256, url) SELECT sha256(CAST(k AS bytea)), k FROM unnest(ARRAY['1', '2']) k;
INSERT INTO shown_pictures (variant_id, generation, position, role, address_id)
SELECT v.id, 1, 1, 'primary', a.id
FROM addresses a JOIN variants v ON v.sku = CASE a.url WHEN '1' THEN 'vÄ' ELSE 'vA' END;
INSERT INTO jobs (id, queue, run_id, supplier_id, key, args, state)
SELECT 'image-' || a.url, 'image-upload', r.id, r.supplier_id, CAST(a.id AS text), '{}', 'completed'
FROM runs r, addresses a;
INSERT INTO category_files (profile, url, checked_at) VALUES ('p', 'http://x', now());
INSERT INTO categories (profile, key, name) SELECT 'p', k, '{}' FROM unnest(CAST(:keys AS text[])) k
"""


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    with odd_locale(), start_postgres(tmp_path_factory.mktemp("odd"), say=lambda _: None, durable=False) as postgres:
        sorting = f"LOCALE_PROVIDER libc LOCALE '{LOCALE}' ENCODING 'UTF8'"
        await execute(postgres.url, f"CREATE DATABASE odd TEMPLATE template0 {sorting}")
        database = Database(database_named(postgres.url, "odd"))
        await migrate(database)
        await database.close()
        folder = tmp_path_factory.mktemp("stack")
        async with open_stack(replace(servers, postgres=postgres), folder, template="odd") as opened:
            async with opened.services.database.begin() as db:
                for statement in FILL.split(";\n"):
                    names = {"keys": KEYS, "paths": PATHS}
                    wanted = {name: value for name, value in names.items() if f":{name}" in statement}
                    await db.execute(text(statement), wanted)
            yield opened
        postgres.stop(discard=True)


@pytest.fixture(scope="module")
async def api(stack: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(stack.settings) as client:
        yield client


async def test_the_database_sorts_unlike_bytes(stack: Stack) -> None:
    rows = await stack.rows(
        "SELECT k FROM unnest(CAST(:keys AS text[])) k ORDER BY k", keys=["B", "a", "A", "a-b", "ab"]
    )
    assert [row["k"] for row in rows] == ["a", "a-b", "ab", "A", "B"]


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("/suppliers", "code", KEYS),
        ("/products", "sku", [key for key in KEYS for _ in range(2)]),
        ("/products?sort=updatedAt", "sku", [key for key in KEYS for _ in range(2)]),
        ("/variants", "sku", [f"v{key}" for key in KEYS for _ in range(2)]),
        ("/categories", "key", KEYS),
        ("/queues/supplier-sync/jobs", "jobId", KEYS[::-1]),
    ],
)
async def test_pages_of_a_list_are_in_the_order_of_bytes_and_leave_nothing_out(
    api: ApiClient, path: str, name: str, expected: list[str]
) -> None:
    base, _, sort = path.partition("?sort=")
    items = await (api.all_pages(base, sort=sort) if sort else api.all_pages(base))
    assert [item[name] for item in items] == expected


def lowered(key: str) -> str:
    """As `q` reads a SKU: ASCII's letters in any case."""
    return "".join(one.lower() if one.isascii() else one for one in key)


async def test_what_a_sku_or_an_ean_begins_with_finds_just_those(api: ApiClient) -> None:
    for beginning in [*KEYS, "va", "vÄ", "ea", "eÄ", "eA"]:
        asked = lowered(beginning)
        begun = [
            key for key in KEYS
            if lowered(key).startswith(asked) or f"v{lowered(key)}".startswith(asked) or f"e{key}".startswith(beginning)
        ]  # fmt: skip
        found = await api.all_pages("/products", limit=100, q=beginning)
        assert [item["sku"] for item in found] == [key for key in begun for _ in range(2)], beginning


async def test_jobs_about_a_variant_are_found_by_its_sku_whose_ascii_may_be_in_any_case(stack: Stack) -> None:
    async with stack.services.database.read() as db:
        found = {sku: await job_subjects.jobs_about(db, "image-upload", sku, 10) for sku in ("vÄ", "VÄ", "va", "vä")}
    ids = {sku: [row.id for row in rows] for sku, rows in found.items()}
    assert ids == {"vÄ": ["image-1"], "VÄ": ["image-1"], "va": ["image-2"], "vä": []}


async def test_the_database_knows_which_letters_are_capitals(stack: Stack) -> None:
    assert await stack.value("SELECT lower('Ä')") == "ä"


async def test_a_category_has_what_lies_below_it_and_nothing_beside_it(api: ApiClient) -> None:
    for category in PATHS:
        found = await api.all_pages("/products", limit=100, category=category)
        below = [path for path in PATHS if path == category or path.startswith(f"{category}/")]
        assert sorted(item["category"] for item in found) == sorted([*below, *below]), category
