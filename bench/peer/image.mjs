// image-upload: an address that is known is linked; any other is fetched, hashed, stored once, recorded and linked.
import { createHash } from "node:crypto";
import { Agent } from "node:http";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { bytesOf, database, PEER_BUCKET, PEER_S3_KEY, PEER_S3_SECRET, PEER_S3_URL } from "./parts.mjs";

export const concurrency = 10;
const TYPES = { ffd8ff: ["image/jpeg", "jpg"], "89504e": ["image/png", "png"] };

export function handler() {
  const db = database(concurrency);
  const store = new S3Client({
    endpoint: PEER_S3_URL,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId: PEER_S3_KEY, secretAccessKey: PEER_S3_SECRET },
    requestChecksumCalculation: "WHEN_REQUIRED",
    requestHandler: { httpAgent: new Agent({ keepAlive: true, maxSockets: concurrency }) },
  });

  async function mediaOf(url) {
    const known = await db.query("SELECT media_id FROM addresses WHERE url = $1", [url]);
    if (known.rows.length) return known.rows[0].media_id;
    const body = await bytesOf(url);
    const [mediaType, ending] = TYPES[body.subarray(0, 3).toString("hex")] ?? [];
    if (!mediaType) throw new Error(`${url} is no picture`);
    const sha256 = createHash("sha256").update(body).digest("hex");
    const same = await db.query("SELECT id FROM media WHERE sha256 = $1", [sha256]);
    const media = same.rows[0]?.id ?? (await stored(body, sha256, mediaType, `${sha256.slice(0, 2)}/${sha256}.${ending}`));
    await db.query("INSERT INTO addresses (url, media_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", [url, media]);
    return media;
  }

  async function stored(body, sha256, mediaType, key) {
    await store.send(new PutObjectCommand({ Bucket: PEER_BUCKET, Key: key, Body: body, ContentType: mediaType }));
    const saved = await db.query(
      `INSERT INTO media (sha256, key, bytes, media_type) VALUES ($1, $2, $3, $4)
       ON CONFLICT (sha256) DO UPDATE SET key = EXCLUDED.key RETURNING id`,
      [sha256, key, body.length, mediaType],
    );
    return saved.rows[0].id;
  }

  return async ({ data: { url, variant, role, position } }) => {
    await db.query(
      `INSERT INTO variant_pictures (variant_id, role, position, media_id) VALUES ($1, $2, $3, $4)
       ON CONFLICT (variant_id, role, position) DO UPDATE SET media_id = EXCLUDED.media_id`,
      [variant, role, position, await mediaOf(url)],
    );
  };
}
