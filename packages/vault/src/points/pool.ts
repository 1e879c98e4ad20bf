import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type Closable, type ErrorCode, MillraceError } from '@millrace/base';
import type { PointsDone, PointsEngine, PointsJob } from './work.ts';

export interface PointsMessage {
  readonly id: number;
  readonly job: PointsJob;
}

export type PointsAnswer =
  | { readonly id: number; readonly done: PointsDone }
  | { readonly id: number; readonly failed: { readonly code: ErrorCode; readonly message: string } };

interface Waiting {
  readonly message: PointsMessage;
  readonly resolve: (done: PointsDone) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Threads for the arithmetic of points, started when the first job comes: a vault without such designs has none. Each
 * has one job at a time; only one with a job keeps the process alive.
 */
export class PointsPool implements PointsEngine, Closable {
  readonly #threads: number;
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Waiting>();
  readonly #queue: Waiting[] = [];
  #next = 0;
  #closed = false;

  /** @param threads default: as many as cores, 2 at most */
  constructor(threads = Math.min(2, availableParallelism())) {
    this.#threads = threads;
  }

  /** The job's bytes are copied; the caller wipes its own. */
  run(job: PointsJob): Promise<PointsDone> {
    if (this.#closed) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      this.#queue.push({ message: { id: this.#next++, job }, resolve, reject });
      this.#pump();
    });
  }

  /** Abandons running jobs: nothing durable depends on them. */
  async close(): Promise<void> {
    this.#closed = true;
    const workers = [...this.#idle.splice(0), ...this.#busy.keys()];
    for (const { reject } of [...this.#queue.splice(0), ...this.#busy.values()]) reject(closed());
    this.#busy.clear();
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #pump(): void {
    while (this.#queue.length > 0) {
      const worker = this.#idle.pop() ?? (this.#busy.size < this.#threads ? this.#start() : undefined);
      if (worker === undefined) return;
      const waiting = this.#queue.shift();
      if (waiting === undefined) return;
      this.#busy.set(worker, waiting);
      worker.ref();
      worker.postMessage(waiting.message);
    }
  }

  #start(): Worker {
    // The built file even when this module runs from source: Node 20 loads no TypeScript.
    const worker = new Worker(new URL('../../dist/points/worker.js', import.meta.url), { execArgv: [] });
    worker.on('message', (answer: PointsAnswer) => this.#answered(worker, answer));
    worker.on('error', (error) => this.#failed(worker, error));
    return worker;
  }

  #answered(worker: Worker, answer: PointsAnswer): void {
    const waiting = this.#busy.get(worker);
    if (waiting === undefined) return; // closed meanwhile
    this.#busy.delete(worker);
    this.#idle.push(worker);
    worker.unref();
    if ('done' in answer) waiting.resolve(answer.done);
    else waiting.reject(new MillraceError(answer.failed.code, answer.failed.message));
    this.#pump();
  }

  #failed(worker: Worker, error: unknown): void {
    const waiting = this.#busy.get(worker);
    this.#busy.delete(worker);
    waiting?.reject(error);
    this.#pump();
  }
}

const closed = () => new MillraceError('E_UNAVAILABLE', 'the threads for points are closed');
