import { MillraceError } from '@millrace/base';
import { WorkerPool } from '../worker-pool.ts';
import type { JobKind, RenewDone, RenewJob } from './jobs.ts';

/**
 * Size of a thread's young generation, MB. Each young object holds memory outside the heap, which the garbage collector
 * underestimates. A small young generation is collected sooner.
 */
const YOUNG_MB = 1;

/** Buffers kept for later jobs: as many as one step uses at a time. */
const SPARE = 4;

/** Threads that renew cells, and the buffers for their jobs. */
export class RenewPool {
  readonly #pool: WorkerPool<RenewJob, RenewDone>;
  /** Buffers of finished jobs, for reuse. */
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];

  constructor(threads: number) {
    this.#pool = new WorkerPool({
      script: new URL('../../dist/renewal/renew-worker.js', import.meta.url),
      threads,
      perThread: Number.POSITIVE_INFINITY, // a thread takes jobs without waiting for this thread
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
      onClose: 'finish', // jobs under way use the file
      closed: () => new MillraceError('E_STORE', 'the store is closed'),
    });
  }

  /** A zeroed buffer for a job's records, at least `length` bytes. It may be a reused one. */
  buffer(length: number): Uint8Array<ArrayBuffer> {
    const fitting = this.#spare.findLastIndex((spare) => spare.length >= length);
    return fitting < 0 ? new Uint8Array(length) : (this.#spare.splice(fitting, 1)[0] ?? new Uint8Array(length));
  }

  /** @param records from `buffer`; transferred to the thread, which wipes them */
  async run(file: number, kind: JobKind, count: number, records: Uint8Array<ArrayBuffer>): Promise<RenewDone> {
    const done = await this.#pool.run({ file, kind, count, records }, [records.buffer]);
    this.#spare.push(done.records);
    this.#spare.sort((a, b) => b.length - a.length).splice(SPARE); // keep the longest few
    return done;
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}
