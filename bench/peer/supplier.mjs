// supplier-sync: read the manifest, fetch what is new or changed ten at a time, hand each family on with its document.
import { bytesOf, database, FAMILY, PEER_BASE_URL, queue } from "./parts.mjs";

export const concurrency = 1;
const FETCHES = 10;

export function handler(redis) {
  const families = queue(FAMILY, redis);
  const db = database(2);
  return async () => {
    const listed = parse((await bytesOf(`${PEER_BASE_URL}/Import/Import.txt`)).toString("utf8"));
    const known = new Map((await db.query("SELECT url, hash FROM documents")).rows.map((row) => [row.url, row.hash]));
    const wanted = listed.filter(({ url, hash }) => known.get(url) !== hash);
    const next = wanted.values();
    const fetchSome = async () => {
      for (const { url, hash } of next) {
        const document = JSON.parse((await bytesOf(url)).toString("utf8"));
        const supplier = url.split("/").at(-2);
        await families.add("family", { supplier, document, url, hash });
      }
    };
    await Promise.all(Array.from({ length: FETCHES }, fetchSome));
  };
}

function parse(manifest) {
  return manifest
    .split(/\r?\n/)
    .map((line) => line.split("|"))
    .filter(([url]) => url.endsWith(".json"))
    .map(([url, hash = ""]) => ({ url, hash: hash.trim().toLowerCase() }));
}
