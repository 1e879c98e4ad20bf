import { Worker } from 'node:worker_threads';
import { MillraceError } from '@millrace/base';
import type { JobAnswer, JobKind, JobMessage } from './jobs.ts';

export interface JobDone {
  readonly heads: Uint8Array<ArrayBuffer>;
  /** What the job took of one core, at most: time in the thread, waiting for the disk included. */
  readonly workMs: number;
}

interface Waiting {
  readonly resolve: (done: JobDone) => void;
  readonly reject: (error: unknown) => void;
  readonly worker: Worker;
}

/**
 * A thread's young objects, MB: each drags a piece of memory outside of the heap along, which the collector counts badly. A small
 * young generation is cleared sooner.
 */
const YOUNG_MB = 1;

/** Buffers kept for the next jobs; as many as are under way for one step. */
const SPARE = 4;

/** Renewing threads, started when the first job comes; only one with a job keeps the process alive. */
export class RenewPool {
  readonly #threads: number;
  readonly #workers: Worker[] = [];
  readonly #waiting = new Map<number, Waiting>();
  /** Of jobs that are done: the next ones are written into them. */
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];
  #next = 0;
  #closed = false;

  constructor(threads: number) {
    this.#threads = threads;
  }

  /** Memory for a job's records, at least so long; what a job before left is zeros, but not all of it is new. */
  room(length: number): Uint8Array<ArrayBuffer> {
    const fitting = this.#spare.findLastIndex((spare) => spare.length >= length);
    return fitting < 0 ? new Uint8Array(length) : (this.#spare.splice(fitting, 1)[0] ?? new Uint8Array(length));
  }

  /** @param records of `room`; handed over to the thread, which wipes them */
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

  /** Waits for jobs under way: they use the file. */
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

  /** The longest few are kept. */
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
