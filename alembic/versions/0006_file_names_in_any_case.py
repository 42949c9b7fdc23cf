"""Which document speaks for a family: the file's extension counts in any case, here as in the code.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(r"""
CREATE FUNCTION document_stem(file_name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT regexp_replace(file_name, '\.json$', '', 'i') $$""")
    op.execute("""
COMMENT ON FUNCTION document_stem IS 'a file name without its extension; app/catalogue/file_names.py judges alike'""")
    op.execute("""
-- Of several documents with one family SKU only some speak for the family (ENGINE.md 5): the one with children whose
-- file name equals the SKU, else the first such by name; where none has children, all of them.
CREATE OR REPLACE VIEW speaking_documents AS
SELECT d.* FROM documents d WHERE d.present AND d.version IS NOT NULL AND NOT EXISTS (
    SELECT FROM documents o
    WHERE o.supplier_id = d.supplier_id AND o.family_sku = d.family_sku AND o.id <> d.id
      AND o.present AND o.version IS NOT NULL AND o.has_children
      AND (NOT d.has_children
           OR (document_stem(o.file_name) = o.family_sku, d.file_name)
            > (document_stem(d.file_name) = d.family_sku, o.file_name)))""")


def downgrade() -> None:
    op.execute("""
CREATE OR REPLACE VIEW speaking_documents AS
SELECT d.* FROM documents d WHERE d.present AND d.version IS NOT NULL AND NOT EXISTS (
    SELECT FROM documents o
    WHERE o.supplier_id = d.supplier_id AND o.family_sku = d.family_sku AND o.id <> d.id
      AND o.present AND o.version IS NOT NULL AND o.has_children
      AND (NOT d.has_children OR o.file_name = o.family_sku || '.json'
           OR (d.file_name <> d.family_sku || '.json' AND o.file_name < d.file_name)))""")
    op.execute("DROP FUNCTION document_stem")
