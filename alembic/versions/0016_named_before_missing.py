"""A document that the manifest lacks speaks before none that it names, though it is not removed yet.

`present` is true until it is removed, by REMOVE_AFTER_RUNS or the guard; `missing_since` says that it is not named, and
of several that are not which was named last. Programs of 0006 never write it: what they sync is judged as before, and
a document that they found again counts for its family when a newer one has read the manifest, too.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None
works_with = "0006"


def upgrade() -> None:
    op.execute("ALTER TABLE documents ADD COLUMN missing_since timestamptz")
    op.execute("""
COMMENT ON COLUMN documents.missing_since IS 'when a manifest lacked it first; NULL where the last one names it'""")
    op.execute("""
-- Of several documents with one family SKU only some speak for the family (ENGINE.md 5): the one with children whose
-- file name equals the SKU, else the first such by name; where none has children, all of them. One that was named later
-- than another goes before it, if either has children or both are the same variant.
CREATE OR REPLACE VIEW speaking_documents AS
SELECT d.* FROM documents d WHERE d.present AND d.version IS NOT NULL AND NOT EXISTS (
    SELECT FROM documents o
    WHERE o.supplier_id = d.supplier_id AND o.family_sku = d.family_sku AND o.id <> d.id
      AND o.present AND o.version IS NOT NULL
      AND CASE WHEN o.missing_since IS NOT DISTINCT FROM d.missing_since
          THEN o.has_children
            AND (NOT d.has_children
                 OR (document_stem(o.file_name) = o.family_sku, d.file_name)
                  > (document_stem(d.file_name) = d.family_sku, o.file_name))
          ELSE COALESCE(o.missing_since, 'infinity') > COALESCE(d.missing_since, 'infinity')
            AND (o.has_children OR d.has_children OR o.sku = d.sku) END)""")


def downgrade() -> None:
    op.execute("DROP VIEW speaking_documents")
    op.execute("ALTER TABLE documents DROP COLUMN missing_since")
    op.execute("""
CREATE VIEW speaking_documents AS
SELECT d.* FROM documents d WHERE d.present AND d.version IS NOT NULL AND NOT EXISTS (
    SELECT FROM documents o
    WHERE o.supplier_id = d.supplier_id AND o.family_sku = d.family_sku AND o.id <> d.id
      AND o.present AND o.version IS NOT NULL AND o.has_children
      AND (NOT d.has_children
           OR (document_stem(o.file_name) = o.family_sku, d.file_name)
            > (document_stem(d.file_name) = d.family_sku, o.file_name)))""")
