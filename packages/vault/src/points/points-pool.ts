import { availableParallelism } from 'node:os';
import { type Closable, MillraceError } from '@millrace/base';
import { WorkerPool } from '../worker-pool.ts';
import type { PointsDone, PointsEngine, PointsJob } from './work.ts';

/** Threads for point arithmetic. A vault without designs of points starts none. */
export class PointsPool implements PointsEngine, Closable {
  readonly #pool: WorkerPool<PointsJob, PointsDone>;

  /** @param threads default: the number of cores, at most 2 */
  constructor(threads = Math.min(2, availableParallelism())) {
    this.#pool = new WorkerPool({
      script: new URL('../../dist/points/worker.js', import.meta.url),
      threads,
      perThread: 1,
      onClose: 'abandon',
      closed: () => new MillraceError('E_UNAVAILABLE', 'the threads for points are closed'),
    });
  }

  /** The job's bytes are copied; the caller wipes the originals. */
  run(job: PointsJob): Promise<PointsDone> {
    return this.#pool.run(job);
  }

  /** Abandons jobs under way: nothing durable depends on them. */
  close(): Promise<void> {
    return this.#pool.close();
  }
}
