"""What the catalogue's readers go by: variants by SKU, status, time and EAN, and a version of each product.

A product's version is the transaction that last changed what readers see of it, its variants and pictures included; an
ETag is made of it. Triggers keep it, so that it holds for whoever writes, programs of 0008 too. They lock the product
before its version wherever addresses are written, in the order of docs/decisions/0007.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
works_with = "0006"

INDEXES = {
    "variants_by_sku": "variants (sku, supplier_id)",
    "variants_by_status": "variants (status, sku, supplier_id)",
    "variants_by_update": "variants (updated_at)",
    "variants_by_ean": "variants ((content ->> 'ean') text_pattern_ops)",
}

VERSIONS = """
CREATE TABLE product_versions (
    product_id bigint PRIMARY KEY,
    version bigint NOT NULL
) WITH (fillfactor = 50)
"""
COMMENTS = (
    """
COMMENT ON TABLE product_versions IS 'the transaction that last changed what readers see of a product; none: 0'""",
    """
COMMENT ON COLUMN product_versions.product_id IS 'no reference, which would lock the product once more a write'""",
)
STAMP = """
CREATE FUNCTION stamp_products(ids bigint[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO product_versions (product_id, version)
    SELECT DISTINCT id, CAST(CAST(pg_current_xact_id() AS text) AS bigint) FROM unnest(ids) AS i(id) ORDER BY id
    ON CONFLICT (product_id) DO UPDATE SET version = EXCLUDED.version
    WHERE product_versions.version <> EXCLUDED.version
$$
"""
PRODUCTS = """
CREATE FUNCTION version_products() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM stamp_products(ARRAY(SELECT id FROM now_rows));
    ELSE
        PERFORM stamp_products(ARRAY(SELECT n.id FROM now_rows n JOIN then_rows t USING (id)
            WHERE (n.sku, n.status, n.content_digest, n.updated_at)
               IS DISTINCT FROM (t.sku, t.status, t.content_digest, t.updated_at)));
    END IF;
    RETURN NULL;
END $$
"""
VARIANTS = """
CREATE FUNCTION version_variants() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM stamp_products(ARRAY(SELECT product_id FROM now_rows));
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM stamp_products(ARRAY(SELECT product_id FROM then_rows));
    ELSE
        PERFORM stamp_products(ARRAY(
            SELECT unnest(ARRAY[n.product_id, t.product_id]) FROM now_rows n JOIN then_rows t USING (id)
            WHERE (n.sku, n.status, n.product_id, n.position, n.is_primary, n.content_digest, n.prices_digest,
                   n.imprint_digest, COALESCE(NULLIF(n.shown_generation, 0), n.generation))
               IS DISTINCT FROM
                  (t.sku, t.status, t.product_id, t.position, t.is_primary, t.content_digest, t.prices_digest,
                   t.imprint_digest, COALESCE(NULLIF(t.shown_generation, 0), t.generation))));
    END IF;
    RETURN NULL;
END $$
"""
ADDRESSES = """
CREATE FUNCTION version_addresses() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE ids bigint[];
BEGIN
    IF NOT EXISTS (SELECT FROM now_rows n JOIN then_rows t USING (id)
                   WHERE (n.state = 'stored', n.media_id) IS DISTINCT FROM (t.state = 'stored', t.media_id)) THEN
        RETURN NULL;
    END IF;
    ids := ARRAY(
        SELECT DISTINCT v.product_id FROM now_rows n JOIN then_rows t USING (id)
        JOIN shown_pictures s ON s.address_id = n.id JOIN variants v ON v.id = s.variant_id
        WHERE (n.state = 'stored', n.media_id) IS DISTINCT FROM (t.state = 'stored', t.media_id)
          AND s.generation = COALESCE(NULLIF(v.shown_generation, 0), v.generation));
    PERFORM FROM products p WHERE p.id = ANY(ids) ORDER BY p.supplier_id, p.sku FOR NO KEY UPDATE;
    PERFORM stamp_products(ids);
    RETURN NULL;
END $$
"""
OLD, NEW = "OLD TABLE AS then_rows", "NEW TABLE AS now_rows"
TRIGGERS = {
    "products_changed": ("UPDATE ON products", f"{OLD} {NEW}", "version_products"),
    "products_added": ("INSERT ON products", NEW, "version_products"),
    "variants_changed": ("UPDATE ON variants", f"{OLD} {NEW}", "version_variants"),
    "variants_added": ("INSERT ON variants", NEW, "version_variants"),
    "variants_removed": ("DELETE ON variants", OLD, "version_variants"),
    "addresses_changed": ("UPDATE ON addresses", f"{OLD} {NEW}", "version_addresses"),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, on in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # one that was begun and not ended is of no use
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {on}")
    for statement in (VERSIONS, *COMMENTS, STAMP, PRODUCTS, VARIANTS, ADDRESSES):
        op.execute(statement)
    for name, (event, rows, function) in TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} REFERENCING {rows} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )


def downgrade() -> None:
    for name, (event, _, _) in TRIGGERS.items():
        op.execute(f"DROP TRIGGER {name} ON {event.rpartition(' ')[2]}")
    for function in ("version_products()", "version_variants()", "version_addresses()", "stamp_products(bigint[])"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP TABLE product_versions")
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
