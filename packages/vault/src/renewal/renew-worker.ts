import { SLOT_BYTES } from '../sizes.ts';
import { serveJobs } from '../worker-jobs.ts';
import { type RenewDone, type RenewJob, runJob } from './jobs.ts';

// A renewing thread. It shares the process's file descriptors with the main thread.

/** Reused between jobs: allocating four megabytes per job would cost as much as the ciphers. */
let out = new Uint8Array();

serveJobs<RenewJob, RenewDone>((job) => {
  const started = performance.now();
  const { count, records } = job;
  if (out.length < SLOT_BYTES * count) out = new Uint8Array(SLOT_BYTES * count);
  const heads = runJob(job, out);
  return { done: { records, heads, workMs: performance.now() - started }, transfer: [heads.buffer, records.buffer] };
});
