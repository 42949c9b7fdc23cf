"""What an image job looks up costs the same in a large catalogue, also in one that PostgreSQL has not analyzed yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from app.persistence.pictures.addresses import ADDRESSES
from app.persistence.pictures.generations import SHOWING_ALREADY
from tests.conftest import MakeStack

FAMILIES = 300
SEED = (
    """
    INSERT INTO products (supplier_id, sku, status, content, content_digest, applied_version)
    SELECT (SELECT min(id) FROM suppliers), 'F-' || n, 'active', '{}', '\\x00', n
    FROM generate_series(1, :families) n""",
    """
    INSERT INTO variants (supplier_id, sku, product_id, status, position, is_primary, content, content_digest,
        prices_digest, imprint_digest, pictures_digest, generation)
    SELECT supplier_id, sku || '-' || n, id, 'active', n, n = 1, '{}', '\\x00', '\\x00', '\\x00', '\\x00', 1
    FROM products, generate_series(1, 2) n""",
    """
    INSERT INTO addresses (url_sha256, url)
    SELECT sha256(sku::bytea), 'http://origin.test/' || sku FROM variants""",
    """
    INSERT INTO shown_pictures (variant_id, generation, position, role, address_id)
    SELECT v.id, 1, 0, 'primary', a.id FROM variants v JOIN addresses a ON a.url_sha256 = sha256(v.sku::bytea)""",
)
MOVED = [1, 2, 3]


@pytest.mark.parametrize(
    ("statement", "given"),
    [
        (ADDRESSES, {"ids": MOVED}),
        (SHOWING_ALREADY, {"moved": MOVED, "media": [None] * 3, "replaced": [], "but_not": []}),
    ],
    ids=["addresses", "showing already"],
)
async def test_a_look_reads_what_it_asks_for(make_stack: MakeStack, statement: str, given: dict[str, Any]) -> None:
    async with make_stack() as stack, stack.services.database.begin() as db:
        for rows in SEED:
            await db.execute(text(rows), {"families": FAMILIES})
        plan = await db.scalar(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"), given)
        read = {node["Node Type"]: node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan[0]["Plan"])}
        assert max(read.values()) < FAMILIES / 10, read


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)
