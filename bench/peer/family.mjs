// product-family: upsert the product and its variants in one transaction, then hand on each picture.
import { database, IMAGE, queue } from "./parts.mjs";

export const concurrency = 3;

export function handler(redis) {
  const images = queue(IMAGE, redis);
  const db = database(concurrency);
  return async ({ data: { supplier, document, url, hash } }) => {
    const variants = document.ChildProducts?.length ? document.ChildProducts : [document];
    const client = await db.connect();
    const pictures = [];
    try {
      await client.query("BEGIN");
      const product = await client.query(
        `INSERT INTO products (supplier, sku, content) VALUES ($1, $2, $3) ON CONFLICT (supplier, sku)
         DO UPDATE SET content = EXCLUDED.content, updated_at = now() RETURNING id`,
        [supplier, document.Sku, JSON.stringify(contentOf(document))],
      );
      for (const variant of variants) {
        const saved = await client.query(
          `INSERT INTO variants (product_id, sku, content, prices) VALUES ($1, $2, $3, $4) ON CONFLICT (product_id, sku)
           DO UPDATE SET content = EXCLUDED.content, prices = EXCLUDED.prices, updated_at = now() RETURNING id`,
          [
            product.rows[0].id,
            variant.Sku,
            JSON.stringify(contentOf(variant)),
            JSON.stringify(variant.ProductPriceCountryBased ?? {}),
          ],
        );
        pictures.push(...picturesOf(variant).map((picture) => ({ ...picture, variant: saved.rows[0].id })));
      }
      await client.query(
        "INSERT INTO documents (url, hash) VALUES ($1, $2) ON CONFLICT (url) DO UPDATE SET hash = EXCLUDED.hash",
        [url, hash],
      );
      await client.query("COMMIT");
    } catch (error) {
      await client.query("ROLLBACK");
      throw error;
    } finally {
      client.release();
    }
    await images.addBulk(pictures.map((data) => ({ name: "picture", data })));
  };
}

function contentOf(item) {
  const { ChildProducts: _children, ProductPriceCountryBased: _prices, ...content } = item;
  return content;
}

function picturesOf(variant) {
  const found = new Map();
  for (const details of Object.values(variant.ProductDetails ?? {})) {
    if (details.Image?.Url) found.set(details.Image.Url, { url: details.Image.Url, role: "primary", position: 0 });
    (details.MediaGalleryImages ?? []).forEach(({ Url: url }, position) => {
      if (url && !found.has(url)) found.set(url, { url, role: "gallery", position });
    });
  }
  return [...found.values()];
}
