import { Worker } from 'node:worker_threads';
import { MillraceError } from '@millrace/base';
import type { JobAnswer, JobKind, JobMessage } from './jobs.ts';

export interface JobDone {
  readonly heads: Uint8Array<ArrayBuffer>;
  /** Upper bound of the job's time of one core: time in the thread, including waits for the disk. */
  readonly workMs: number;
}

interface Waiting {
  readonly resolve: (done: JobDone) => void;
  readonly reject: (error: unknown) => void;
  readonly worker: Worker;
}

/**
 * Size of a thread's young generation, MB. Each young object holds memory outside of the heap, which the collector
 * underestimates. A small young generation is collected sooner.
 */
const YOUNG_MB = 1;

/** Buffers kept for the next jobs: as many as one step uses at a time. */
const SPARE = 4;

/** Renewing threads, started with the first job. Only a thread with a job keeps the process alive. */
export class RenewPool {
  readonly #threads: number;
  readonly #workers: Worker[] = [];
  readonly #waiting = new Map<number, Waiting>();
  /** Buffers of finished jobs, for reuse. */
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];
  #next = 0;
  #closed = false;

  constructor(threads: number) {
    this.#threads = threads;
  }

  /** A zeroed buffer for a job's records, of at least `length` bytes. It may be reused. */
  buffer(length: number): Uint8Array<ArrayBuffer> {
    const fitting = this.#spare.findLastIndex((spare) => spare.length >= length);
    return fitting < 0 ? new Uint8Array(length) : (this.#spare.splice(fitting, 1)[0] ?? new Uint8Array(length));
  }

  /** @param records from `buffer`; transferred to the thread, which wipes them */
  run(file: number, kind: JobKind, count: number, records: Uint8Array<ArrayBuffer>): Promise<JobDone> {
    if (this.#closed) return Promise.reject(new MillraceError('E_STORE', 'the store is closed'));
    const worker = this.#worker();
    const job: JobMessage = { id: this.#next++, file, kind, count, records };
    return new Promise((resolve, reject) => {
      this.#waiting.set(job.id, { resolve, reject, worker });
      worker.ref();
      worker.postMessage(job, [records.buffer]);
    });
  }

  /** Waits for running jobs: they use the file. */
  async close(): Promise<void> {
    this.#closed = true;
    while (this.#waiting.size > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await Promise.all(this.#workers.splice(0).map((worker) => worker.terminate()));
  }

  #worker(): Worker {
    const which = this.#next % this.#threads;
    const known = this.#workers[which];
    if (known !== undefined) return known;
    // The built file even when this module runs from source: Node 20 loads no TypeScript.
    const worker = new Worker(new URL('../../dist/cell-file/renew-worker.js', import.meta.url), {
      execArgv: [],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
    });
    worker.unref();
    worker.on('message', (answer: JobAnswer) => this.#answered(answer));
    worker.on('error', (error) => this.#failed(worker, error));
    this.#workers[which] = worker;
    return worker;
  }

  #answered(answer: JobAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    this.#keep(answer.records);
    if (![...this.#waiting.values()].some(({ worker }) => worker === waiting?.worker)) waiting?.worker.unref();
    if ('heads' in answer) waiting?.resolve(answer);
    else waiting?.reject(Object.assign(new Error(answer.error), { code: answer.code }));
  }

  /** Keeps the longest few. */
  #keep(records: Uint8Array<ArrayBuffer>): void {
    this.#spare.push(records);
    this.#spare.sort((a, b) => b.length - a.length).splice(SPARE);
  }

  #failed(worker: Worker, error: unknown): void {
    for (const [id, waiting] of this.#waiting) {
      if (waiting.worker !== worker) continue;
      this.#waiting.delete(id);
      waiting.reject(error);
    }
    const which = this.#workers.indexOf(worker);
    if (which >= 0) delete this.#workers[which];
  }
}
