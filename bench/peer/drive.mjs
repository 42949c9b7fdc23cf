// node drive.mjs: enqueue one supplier job and wait until nothing is left in any queue; prints what came of it as JSON.
import { connection, database, FAMILY, IMAGE, queue, SUPPLIER } from "./parts.mjs";

const redis = connection();
const queues = [SUPPLIER, FAMILY, IMAGE].map((name) => queue(name, redis));
await Promise.all(queues.map((one) => one.waitUntilReady()));
const began = performance.now();
await queues[0].add("sync", {});
let failed = 0;
for (let open = 1; open; ) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  const counts = await Promise.all(queues.map((one) => one.getJobCounts("waiting", "active", "delayed", "prioritized", "failed")));
  failed = counts.reduce((sum, count) => sum + count.failed, 0);
  open = counts.reduce((sum, { failed: _failed, ...rest }) => sum + Object.values(rest).reduce((a, b) => a + b), 0);
}
const wallS = (performance.now() - began) / 1000;
const db = database(1);
const counted = await db.query(
  `SELECT (SELECT count(*)::int FROM products) AS products, (SELECT count(*)::int FROM variants) AS variants,
          (SELECT count(*)::int FROM media) AS media, (SELECT count(*)::int FROM variant_pictures) AS pictures`,
);
console.log(JSON.stringify({ wall_s: wallS, failed, ...counted.rows[0] }));
await Promise.all([db.end(), ...queues.map((one) => one.close())]);
redis.disconnect();
