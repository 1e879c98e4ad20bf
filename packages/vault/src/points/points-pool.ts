import { availableParallelism } from 'node:os';
import { type Closable, MillraceError } from '@millrace/base';
import { WorkerPool } from '../worker-pool.ts';
import type { PointsDone, PointsEngine, PointsJob } from './work.ts';

/** Threads for the arithmetic of points: a vault without such designs starts none. */
export class PointsPool implements PointsEngine, Closable {
  readonly #pool: WorkerPool<PointsJob, PointsDone>;

  /** @param threads default: as many as cores, 2 at most */
  constructor(threads = Math.min(2, availableParallelism())) {
    this.#pool = new WorkerPool({
      script: new URL('../../dist/points/worker.js', import.meta.url),
      threads,
      perThread: 1,
      onClose: 'abandon',
      closed: () => new MillraceError('E_UNAVAILABLE', 'the threads for points are closed'),
    });
  }

  /** The job's bytes are copied; the caller wipes its own. */
  run(job: PointsJob): Promise<PointsDone> {
    return this.#pool.run(job);
  }

  /** What is under way is given up: nothing durable depends on it. */
  close(): Promise<void> {
    return this.#pool.close();
  }
}
