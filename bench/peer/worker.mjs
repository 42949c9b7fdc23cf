// node worker.mjs supplier|family|image: one worker process of one queue, until SIGTERM.
import { Worker } from "bullmq";
import { connection, FAMILY, IMAGE, SUPPLIER } from "./parts.mjs";

const NAMES = { supplier: SUPPLIER, family: FAMILY, image: IMAGE };
const stage = process.argv[2];
const { handler, concurrency } = await import(`./${stage}.mjs`);
const worker = new Worker(NAMES[stage], handler(connection()), { connection: connection(), concurrency });
worker.on("failed", (job, error) => console.error(`${stage} job ${job?.id} failed: ${error.message}`));
await worker.waitUntilReady();
console.log("ready");
process.on("SIGTERM", async () => {
  await worker.close();
  process.exit(0);
});
