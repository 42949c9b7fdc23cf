"""The ledger (runs, jobs, problems), the feed's entries and documents, the catalogue and its pictures.

SQL as text on purpose: a migration is a record of what was run and must not follow later changes of the code.
No contrib extension and no function newer than PostgreSQL 16 (DESIGN.md, "embedded PostgreSQL").
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE suppliers (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document_id text NOT NULL UNIQUE,
    code text NOT NULL UNIQUE,
    name text NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    schedule text,
    time_zone text NOT NULL DEFAULT 'UTC',
    next_run_at timestamptz,
    removal_guard_share double precision CHECK (removal_guard_share BETWEEN 0 AND 1),
    clean_manifest text,
    clean_entries int,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON COLUMN suppliers.clean_manifest IS 'sha256 of the manifest that left nothing to do';

CREATE TABLE manifests (
    profile bytea PRIMARY KEY,
    sha256 text NOT NULL,
    body bytea NOT NULL,
    etag text,
    last_modified text,
    entries int NOT NULL,
    applied_entries int,
    fetched_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN manifests.profile IS 'sha256 of the base address, which is a credential';
COMMENT ON COLUMN manifests.body IS 'zstd';
COMMENT ON COLUMN manifests.applied_entries IS 'entries of the last manifest that no guard held back';

CREATE TABLE runs (
    id uuid PRIMARY KEY,
    supplier_id int NOT NULL REFERENCES suppliers,
    mode text NOT NULL CHECK (mode IN ('queued', 'direct')),
    trigger text NOT NULL CHECK (trigger IN ('api', 'cli', 'schedule', 'dashboard')),
    status text NOT NULL CHECK (status IN
        ('queued', 'running', 'cancelling', 'completed', 'completed_with_errors', 'failed', 'cancelled')),
    options jsonb NOT NULL DEFAULT '{}',
    supplier_job_id text NOT NULL,
    open_jobs int NOT NULL DEFAULT 0 CHECK (open_jobs >= 0),
    lease_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    repaired_at timestamptz,
    error text,
    fatal boolean NOT NULL DEFAULT false,
    guard jsonb,
    manifest_sha256 text,
    manifest_entries int NOT NULL DEFAULT 0,
    manifest_new int NOT NULL DEFAULT 0,
    manifest_changed int NOT NULL DEFAULT 0,
    manifest_unchanged int NOT NULL DEFAULT 0,
    manifest_removed int NOT NULL DEFAULT 0,
    manifest_invalid int NOT NULL DEFAULT 0,
    documents_wanted int NOT NULL DEFAULT 0,
    documents_fetched int NOT NULL DEFAULT 0,
    documents_unchanged int NOT NULL DEFAULT 0,
    documents_failed int NOT NULL DEFAULT 0,
    families_total int NOT NULL DEFAULT 0,
    families_completed int NOT NULL DEFAULT 0,
    families_failed int NOT NULL DEFAULT 0,
    families_cancelled int NOT NULL DEFAULT 0,
    variants_created int NOT NULL DEFAULT 0,
    variants_updated int NOT NULL DEFAULT 0,
    variants_unchanged int NOT NULL DEFAULT 0,
    variants_discontinued int NOT NULL DEFAULT 0,
    variants_reactivated int NOT NULL DEFAULT 0,
    images_total int NOT NULL DEFAULT 0,
    images_uploaded int NOT NULL DEFAULT 0,
    images_deduplicated int NOT NULL DEFAULT 0,
    images_failed int NOT NULL DEFAULT 0,
    images_cancelled int NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX runs_one_under_way ON runs (supplier_id) WHERE status IN ('queued', 'running', 'cancelling');
CREATE INDEX runs_newest ON runs (created_at DESC, id DESC);
CREATE INDEX runs_of_supplier ON runs (supplier_id, created_at DESC, id DESC);
CREATE INDEX runs_by_status ON runs (status, created_at DESC, id DESC);

CREATE TABLE queues (
    name text PRIMARY KEY,
    paused boolean NOT NULL DEFAULT false
);
INSERT INTO queues (name) VALUES ('supplier-sync'), ('product-family'), ('image-upload');

CREATE TABLE jobs (
    id text COLLATE "C" PRIMARY KEY,
    -- two references are left out: a third of what a job's insert costs, for names that only the code writes
    queue text NOT NULL CHECK (queue IN ('supplier-sync', 'product-family', 'image-upload')),
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    supplier_id int NOT NULL,
    parent_id text,
    key text NOT NULL,
    args jsonb NOT NULL,
    direct boolean NOT NULL DEFAULT false,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN
        ('waiting', 'active', 'delayed', 'completed', 'failed', 'cancelled')),
    attempts int NOT NULL DEFAULT 0,
    deaths int NOT NULL DEFAULT 0,
    claim uuid,
    run_at timestamptz NOT NULL DEFAULT now(),
    dispatched_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    progress jsonb,
    result jsonb,
    error text,
    errors jsonb NOT NULL DEFAULT '[]',
    traceparent text,
    UNIQUE (run_id, queue, key),
    CHECK (state <> 'failed' OR error IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX jobs_open ON jobs (queue, id) WHERE state IN ('waiting', 'active', 'delayed');
CREATE INDEX jobs_by_state ON jobs (queue, state, created_at DESC, id DESC) WHERE NOT direct;
CREATE INDEX jobs_of_supplier ON jobs (supplier_id, queue, created_at DESC, id DESC) WHERE NOT direct;

CREATE TABLE problems (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    severity text NOT NULL CHECK (severity IN ('error', 'warning')),
    stage text NOT NULL CHECK (stage IN ('supplier', 'family', 'image')),
    kind text NOT NULL,
    url text,
    sku text,
    line int,
    reason text NOT NULL,
    job_id text,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX problems_of_run ON problems (run_id, id);
CREATE INDEX problems_of_job ON problems (job_id) WHERE job_id IS NOT NULL;

CREATE SEQUENCE document_versions;
CREATE TABLE documents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    supplier_id int NOT NULL REFERENCES suppliers,
    file_name text COLLATE "C" NOT NULL,
    url text NOT NULL,
    present boolean NOT NULL DEFAULT true,
    missing_runs int NOT NULL DEFAULT 0,
    seen_hash text,
    applied_hash text,
    applied_version bigint,
    fetched_hash text,
    fetched_run_id uuid,
    fetched_at timestamptz,
    version bigint,
    body_sha256 bytea,
    sku text,
    family_sku text,
    has_children boolean,
    suspect_hash text,
    reread boolean NOT NULL DEFAULT false,
    refetch boolean NOT NULL DEFAULT false,
    former_family text,
    doubted boolean NOT NULL DEFAULT false,
    failed_run_id uuid,
    failures int NOT NULL DEFAULT 0,
    next_try_at timestamptz,
    error text,
    UNIQUE (supplier_id, file_name)
) WITH (fillfactor = 80);
COMMENT ON COLUMN documents.suspect_hash IS 'the hash under which was read what is not believed until read again';
CREATE INDEX documents_of_family ON documents (supplier_id, family_sku);

COMMENT ON COLUMN documents.refetch IS 'its family could not be written from the stored body';
COMMENT ON COLUMN documents.former_family IS 'the family it belonged to until its last version, not settled yet';
COMMENT ON COLUMN documents.doubted IS 'to be decided when every document of the run has been seen';

-- Of several documents with one family SKU only some speak for the family (ENGINE.md 5): the one with children whose
-- file name equals the SKU, else the first such by name; where none has children, all of them.
CREATE VIEW speaking_documents AS
SELECT d.* FROM documents d WHERE d.present AND d.version IS NOT NULL AND NOT EXISTS (
    SELECT FROM documents o
    WHERE o.supplier_id = d.supplier_id AND o.family_sku = d.family_sku AND o.id <> d.id
      AND o.present AND o.version IS NOT NULL AND o.has_children
      AND (NOT d.has_children OR o.file_name = o.family_sku || '.json'
           OR (d.file_name <> d.family_sku || '.json' AND o.file_name < d.file_name)));

CREATE TABLE document_bodies (
    document_id bigint PRIMARY KEY REFERENCES documents ON DELETE CASCADE,
    version bigint NOT NULL,
    size_bytes int NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE document_bodies ALTER COLUMN body SET STORAGE EXTERNAL;
COMMENT ON COLUMN document_bodies.body IS 'zstd';

CREATE TABLE listings (
    supplier_id int NOT NULL REFERENCES suppliers,
    variant_sku text COLLATE "C" NOT NULL,
    document_id bigint NOT NULL REFERENCES documents ON DELETE CASCADE,
    PRIMARY KEY (supplier_id, variant_sku, document_id)
);
CREATE INDEX listings_of_document ON listings (document_id);
COMMENT ON TABLE listings IS 'which document lists which variant, as last fetched';

CREATE TABLE products (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    supplier_id int NOT NULL REFERENCES suppliers,
    sku text COLLATE "C" NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'discontinued')),
    content jsonb NOT NULL,
    content_digest bytea NOT NULL,
    category text GENERATED ALWAYS AS (content ->> 'category') STORED,
    words tsvector GENERATED ALWAYS AS (jsonb_to_tsvector('simple', content -> 'name', '["string"]')) STORED,
    fingerprint text NOT NULL,
    applied_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (supplier_id, sku)
);
CREATE INDEX products_by_sku ON products (sku, supplier_id);
CREATE INDEX products_by_lower_sku ON products (lower(sku) text_pattern_ops);
CREATE INDEX products_by_words ON products USING gin (words);
CREATE INDEX products_by_category ON products (category text_pattern_ops, sku, supplier_id);
CREATE INDEX products_by_update ON products (updated_at);
CREATE INDEX products_by_status ON products (status, sku, supplier_id);

CREATE TABLE variants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    supplier_id int NOT NULL REFERENCES suppliers,
    sku text COLLATE "C" NOT NULL,
    product_id bigint NOT NULL REFERENCES products,
    status text NOT NULL CHECK (status IN ('active', 'discontinued')),
    position int NOT NULL,
    is_primary boolean NOT NULL,
    content jsonb NOT NULL,
    content_digest bytea NOT NULL,
    prices_digest bytea NOT NULL,
    imprint_digest bytea NOT NULL,
    pictures_digest bytea NOT NULL,
    generation int NOT NULL DEFAULT 0,
    shown_generation int NOT NULL DEFAULT 0,
    owner_run_id uuid,
    owner_before text COLLATE "C",
    dropped_run_id uuid,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (supplier_id, sku)
) WITH (fillfactor = 90);
CREATE INDEX variants_of_product ON variants (product_id, position);
CREATE INDEX variants_dropped ON variants (supplier_id) WHERE dropped_run_id IS NOT NULL;
CREATE INDEX variants_by_lower_sku ON variants (lower(sku) text_pattern_ops);

CREATE TABLE prices (
    variant_id bigint PRIMARY KEY REFERENCES variants ON DELETE CASCADE,
    tiers jsonb NOT NULL
);
CREATE TABLE imprint_positions (
    variant_id bigint PRIMARY KEY REFERENCES variants ON DELETE CASCADE,
    packed bytea NOT NULL
);
ALTER TABLE imprint_positions ALTER COLUMN packed SET STORAGE EXTERNAL;
COMMENT ON COLUMN imprint_positions.packed IS 'JSON as zstd: most of a document''s bytes, and never looked into by SQL';

CREATE TABLE media (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256 bytea NOT NULL UNIQUE,
    key text NOT NULL UNIQUE,
    content_type text NOT NULL,
    width int NOT NULL,
    height int NOT NULL,
    size_bytes bigint NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE addresses (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    url_sha256 bytea NOT NULL UNIQUE,
    url text NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'stored', 'failed')),
    media_id bigint REFERENCES media,
    etag text,
    last_modified text,
    checked_at timestamptz,
    failures int NOT NULL DEFAULT 0,
    next_try_at timestamptz,
    error text,
    CHECK ((state = 'stored') = (media_id IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX addresses_unsettled ON addresses (id) WHERE state <> 'stored';
CREATE INDEX addresses_of_media ON addresses (media_id) WHERE media_id IS NOT NULL;

CREATE TABLE shown_pictures (
    variant_id bigint NOT NULL REFERENCES variants ON DELETE CASCADE,
    generation int NOT NULL,
    position int NOT NULL,
    role text NOT NULL CHECK (role IN ('primary', 'gallery')),
    address_id bigint NOT NULL REFERENCES addresses,
    PRIMARY KEY (variant_id, generation, position)
);
CREATE INDEX shown_pictures_of_address ON shown_pictures (address_id);

CREATE TABLE categories (
    profile bytea NOT NULL,
    key text NOT NULL,
    name jsonb NOT NULL,
    PRIMARY KEY (profile, key)
);
CREATE TABLE category_files (
    profile bytea PRIMARY KEY,
    url text NOT NULL,
    etag text,
    last_modified text,
    checked_at timestamptz NOT NULL
);

CREATE TABLE changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq bigint UNIQUE,
    kind text NOT NULL CHECK (kind IN ('created', 'updated', 'discontinued', 'reactivated')),
    entity text NOT NULL CHECK (entity IN ('product', 'variant')),
    supplier_id int NOT NULL REFERENCES suppliers,
    sku text NOT NULL,
    product_sku text NOT NULL,
    fields text[] NOT NULL DEFAULT '{}',
    old jsonb,
    new jsonb,
    run_id uuid,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX changes_unnumbered ON changes (id) WHERE seq IS NULL;
CREATE INDEX changes_of_product ON changes (supplier_id, product_sku, id DESC);
CREATE INDEX changes_by_time ON changes (at);
CREATE TABLE change_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    seq bigint NOT NULL,
    pruned_seq bigint NOT NULL
);
INSERT INTO change_head (seq, pruned_seq) VALUES (0, 0);

CREATE TABLE idempotency_keys (
    caller text NOT NULL,
    key text NOT NULL,
    body_sha256 bytea NOT NULL,
    status int,
    answer jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at);
"""

# The transition table of app/states.py; a test holds the two together.
REFUSE_TRANSITION = """
CREATE FUNCTION refuse_job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'job % may not go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
END $$
"""
TRANSITION_TRIGGER = """
CREATE TRIGGER jobs_transition BEFORE UPDATE OF state ON jobs FOR EACH ROW
WHEN (OLD.state <> NEW.state AND (OLD.state || '>' || NEW.state) NOT IN (
    'waiting>active', 'waiting>cancelled',
    'delayed>active', 'delayed>cancelled',
    'active>completed', 'active>failed', 'active>delayed', 'active>cancelled',
    'failed>waiting'))
EXECUTE FUNCTION refuse_job_transition()
"""

DROP = """
DROP VIEW speaking_documents;
DROP TABLE idempotency_keys, change_head, changes, category_files, categories, shown_pictures, addresses, media,
    imprint_positions, prices, variants, products, listings, document_bodies, documents, problems, jobs, queues, runs,
    manifests, suppliers;
DROP SEQUENCE document_versions;
DROP FUNCTION refuse_job_transition();
"""


def upgrade() -> None:
    run(TABLES)
    op.execute(REFUSE_TRANSITION)
    op.execute(TRANSITION_TRIGGER)


def downgrade() -> None:
    run(DROP)


def run(script: str) -> None:
    """Execute a script statement by statement: asyncpg prepares each, and a prepared statement holds just one."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)
