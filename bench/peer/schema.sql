CREATE TABLE documents (url text PRIMARY KEY, hash text NOT NULL);
CREATE TABLE products (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, supplier text NOT NULL, sku text NOT NULL, content jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (supplier, sku)
);
CREATE TABLE variants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, product_id bigint NOT NULL REFERENCES products, sku text NOT NULL,
    content jsonb NOT NULL, prices jsonb NOT NULL, updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (product_id, sku)
);
CREATE TABLE media (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sha256 text NOT NULL UNIQUE, key text NOT NULL,
    bytes integer NOT NULL, media_type text NOT NULL
);
CREATE TABLE addresses (url text PRIMARY KEY, media_id bigint NOT NULL REFERENCES media);
CREATE TABLE variant_pictures (
    variant_id bigint NOT NULL REFERENCES variants ON DELETE CASCADE, role text NOT NULL, position integer NOT NULL,
    media_id bigint NOT NULL REFERENCES media, PRIMARY KEY (variant_id, role, position)
);
