// What all processes share: where things are (PEER_* in the environment), the queues' names, connections.
import { Queue } from "bullmq";
import Redis from "ioredis";
import pg from "pg";

export const SUPPLIER = "supplier-sync";
export const FAMILY = "product-family";
export const IMAGE = "image-upload";

export const { PEER_DATABASE_URL, PEER_REDIS_URL, PEER_BASE_URL, PEER_S3_URL, PEER_S3_KEY, PEER_S3_SECRET, PEER_BUCKET } =
  process.env;

export const connection = () => new Redis(PEER_REDIS_URL, { maxRetriesPerRequest: null });
export const queue = (name, redis) =>
  new Queue(name, { connection: redis, defaultJobOptions: { attempts: 3, removeOnComplete: true } });
export const database = (size) => new pg.Pool({ connectionString: PEER_DATABASE_URL, max: size });

export async function bytesOf(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return Buffer.from(await answer.arrayBuffer());
}
