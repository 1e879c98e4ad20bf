import { parentPort } from 'node:worker_threads';
import { SLOT_BYTES } from '../sizes.ts';
import { type JobAnswer, type JobMessage, runJob } from './jobs.ts';

// A renewing thread. The file descriptor is the process's, hence the main thread's and this one's.

const port = parentPort;
/** Reused between jobs: allocating four megabytes each time would cost as much as the ciphers. */
let out = new Uint8Array();
port?.on('message', (job: JobMessage) => {
  const started = performance.now();
  const { id, count, records } = job;
  if (out.length < SLOT_BYTES * count) out = new Uint8Array(SLOT_BYTES * count);
  try {
    const heads = runJob(job, out);
    const answer: JobAnswer = { id, records, heads, workMs: performance.now() - started };
    port.postMessage(answer, [heads.buffer, records.buffer]);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
    const answer: JobAnswer = { id, records, code, error: error instanceof Error ? error.message : String(error) };
    port.postMessage(answer, [records.buffer]);
  }
});
