import { parentPort } from 'node:worker_threads';
import { toMillraceError, wipe } from '@millrace/base/core';
import type { PointsAnswer, PointsMessage } from './pool.ts';
import { runPointsJob } from './work.ts';

// A thread of a `PointsPool`.

const port = parentPort;
port?.on('message', ({ id, job }: PointsMessage) => {
  try {
    const done = runPointsJob(job);
    port.postMessage({ id, done } satisfies PointsAnswer, [done.bytes.buffer]);
  } catch (error) {
    const { code, message } = toMillraceError(error);
    port.postMessage({ id, failed: { code, message } } satisfies PointsAnswer);
  } finally {
    wipe(job.scalar, job.bytes);
  }
});
