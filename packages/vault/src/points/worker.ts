import { wipe } from '@millrace/base/core';
import { serveJobs } from '../worker-jobs.ts';
import { type PointsDone, type PointsJob, runPointsJob } from './work.ts';

// Worker thread of a `PointsPool`.

serveJobs<PointsJob, PointsDone>((job) => {
  try {
    const done = runPointsJob(job);
    return { done, transfer: [done.bytes.buffer] };
  } finally {
    wipe(job.scalar, job.bytes);
  }
});
