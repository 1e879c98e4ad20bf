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

/** Renewing threads, started when the first job comes; only one with a job keeps the process alive. */
export class RenewPool {
  readonly #threads: number;
  readonly #workers: Worker[] = [];
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;
  #closed = false;

  constructor(threads: number) {
    this.#threads = threads;
  }

  /** @param records handed over to the thread, which wipes them */
  run(file: number, kind: JobKind, records: Uint8Array<ArrayBuffer>): Promise<JobDone> {
    if (this.#closed) return Promise.reject(new MillraceError('E_STORE', 'the store is closed'));
    const worker = this.#worker();
    const job: JobMessage = { id: this.#next++, file, kind, records };
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
    const worker = new Worker(new URL('../../dist/cell-file/renew-worker.js', import.meta.url), { execArgv: [] });
    worker.unref();
    worker.on('message', (answer: JobAnswer) => this.#answered(answer));
    worker.on('error', (error) => this.#failed(worker, error));
    this.#workers[which] = worker;
    return worker;
  }

  #answered(answer: JobAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (![...this.#waiting.values()].some(({ worker }) => worker === waiting?.worker)) waiting?.worker.unref();
    if ('heads' in answer) waiting?.resolve(answer);
    else waiting?.reject(Object.assign(new Error(answer.error), { code: answer.code }));
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
