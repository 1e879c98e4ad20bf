import { parentPort } from 'node:worker_threads';
import { type JobAnswer, type JobMessage, runJob } from './jobs.ts';

// A renewing thread. The file descriptor is the process's, hence the main thread's and this one's.

const port = parentPort;
port?.on('message', (job: JobMessage) => {
  const started = performance.now();
  try {
    const heads = runJob(job);
    const answer: JobAnswer = { id: job.id, heads, workMs: performance.now() - started };
    port.postMessage(answer, [heads.buffer]);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
    const answer: JobAnswer = { id: job.id, code, error: error instanceof Error ? error.message : String(error) };
    port.postMessage(answer);
  }
});
