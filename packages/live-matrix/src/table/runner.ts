import { Worker } from 'node:worker_threads';
import { MillraceError, toMillraceError } from '@millrace/base/core';
import type { EngineSetting, HashEngine, LaterCalls } from '../engines/engine.ts';
import { runTask, runTaskLater, type Task, type TaskResult } from './tasks.ts';
import { fromWire, type WorkerAnswer } from './worker-messages.ts';

/** Runs tasks, here or in worker threads. `urgent` ones (frames) go before the rest (tables). */
export interface TaskRunner {
  readonly threads: number;
  run(task: Task, urgent: boolean): Promise<TaskResult>;
  close(): Promise<void>;
}

/** Runs every task in the calling thread, at once; lets the event loop turn in between. */
export function createLocalRunner(engine: HashEngine): TaskRunner {
  let closed = false;
  return {
    threads: 0,
    async run(task, urgent) {
      if (!urgent) await new Promise(setImmediate);
      if (closed) throw new MillraceError('E_STATE', 'the receiver was closed');
      return runTask(engine, task);
    },
    async close() {
      closed = true;
    },
  };
}

/** Most tasks that go to libuv's threads at once: it has four, and files and names are looked up there too. */
export const MAX_LATER = 3;

/** Runs tasks in the engine's own threads: no worker, and the memory of none. */
export class LaterRunner implements TaskRunner {
  readonly threads: number;
  readonly #engine: HashEngine;
  readonly #later: LaterCalls;
  readonly #urgent: Job[] = [];
  readonly #waiting: Job[] = [];
  readonly #running = new Set<Promise<void>>();
  #closed = false;

  constructor(threads: number, engine: HashEngine, later: LaterCalls) {
    this.threads = threads;
    this.#engine = engine;
    this.#later = later;
  }

  run(task: Task, urgent: boolean): Promise<TaskResult> {
    if (this.#closed) return Promise.reject(new MillraceError('E_STATE', 'the receiver is closed'));
    return new Promise((resolve, reject) => {
      (urgent ? this.#urgent : this.#waiting).push({ task, resolve, reject });
      this.#next();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    const jobs = [...this.#urgent.splice(0), ...this.#waiting.splice(0)];
    for (const job of jobs) job.reject(new MillraceError('E_STATE', 'the receiver was closed'));
    await Promise.all(this.#running);
  }

  #next(): void {
    while (this.#running.size < this.threads) {
      const job = this.#urgent.shift() ?? this.#waiting.shift();
      if (job === undefined) return;
      const work: Promise<void> = runTaskLater(this.#engine, this.#later, job.task)
        .then(job.resolve, job.reject)
        .finally(() => {
          this.#running.delete(work);
          this.#next();
        });
      this.#running.add(work);
    }
  }
}

interface Job {
  readonly task: Task;
  resolve(result: TaskResult): void;
  reject(error: unknown): void;
}

/** Worker threads that take the next task when they are idle. They do not keep the process alive by themselves. */
export class WorkerRunner implements TaskRunner {
  readonly threads: number;
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Job>();
  readonly #urgent: Job[] = [];
  readonly #waiting: Job[] = [];
  #closed = false;

  constructor(threads: number, engine: EngineSetting) {
    this.threads = threads;
    for (let i = 0; i < threads; i++) this.#idle.push(this.#start(engine));
  }

  run(task: Task, urgent: boolean): Promise<TaskResult> {
    if (this.#closed) return Promise.reject(new MillraceError('E_STATE', 'the receiver is closed'));
    return new Promise((resolve, reject) => {
      (urgent ? this.#urgent : this.#waiting).push({ task, resolve, reject });
      this.#next();
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const workers = [...this.#idle, ...this.#busy.keys()];
    const jobs = [...this.#urgent.splice(0), ...this.#waiting.splice(0), ...this.#busy.values()];
    this.#busy.clear();
    for (const job of jobs) job.reject(new MillraceError('E_STATE', 'the receiver was closed'));
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #start(engine: EngineSetting): Worker {
    // The built file even when this module runs from source: Node 20 loads no TypeScript.
    const worker = new Worker(new URL('../../dist/table/worker.js', import.meta.url), {
      workerData: { engine },
      execArgv: [],
      // All that is large lies in shared memory.
      resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 },
    });
    worker.unref();
    worker.on('message', (answer: WorkerAnswer) => this.#answered(worker, answer));
    worker.on('error', (error) => this.#failed(worker, error));
    return worker;
  }

  #next(): void {
    while (this.#idle.length > 0) {
      const job = this.#urgent.shift() ?? this.#waiting.shift();
      if (job === undefined) return;
      const worker = this.#idle.pop();
      if (worker === undefined) return;
      this.#busy.set(worker, job);
      worker.ref();
      worker.postMessage(job.task);
    }
  }

  #answered(worker: Worker, answer: WorkerAnswer): void {
    const job = this.#busy.get(worker);
    this.#busy.delete(worker);
    if (this.#closed) return;
    worker.unref();
    this.#idle.push(worker);
    if ('error' in answer) job?.reject(fromWire(answer.error));
    else job?.resolve(answer.result);
    this.#next();
  }

  /** A thread that dies is a fault of ours: whoever waits learns it, and nothing new is accepted. */
  #failed(worker: Worker, error: unknown): void {
    this.#busy.get(worker)?.reject(toMillraceError(error));
    this.#busy.delete(worker);
    void this.close();
  }
}
